package checks

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// prefetch announces the questions that the checks will ask at a stage.
func (run *Run) prefetch(st Stage) {
	p := run.pipeline
	if p.opts.Announce == nil || st <= MailFrom && p.announced.add(subjectOf(run.session, st), run.session.Time) {
		return
	}
	run.request.Stage = st
	var all []Query
	for _, f := range p.prefetchers {
		var own []Query
		contain(func() { own = f.Prefetch(&run.request) })
		for _, q := range own {
			if !slices.ContainsFunc(all, func(a Query) bool { return a.covers(q) }) {
				all = append(all, q)
			}
		}
	}
	if len(all) > 0 {
		p.opts.Announce.Announce(all)
	}
}

// subject is what the questions of a stage depend on.
type subject struct {
	stage  Stage
	client netip.Addr
	helo   string // from Helo on
	sender string // from MailFrom on
}

func subjectOf(s *Session, st Stage) subject {
	about := subject{stage: st, client: s.Client}
	if st >= Helo {
		about.helo = s.Helo
	}
	if st >= MailFrom {
		about.sender = s.Envelope.MailFrom.Text
	}
	return about
}

const (
	// announcedFor is the shortest time between two announcements of a subject's questions. If it were half, a busy site would
	// spend more CPU time on them; if it were double, more answers with a short TTL would expire before the next announcement.
	announcedFor = 10 * time.Second
	// maxAnnounced is the number of subjects in each half of a recentSet. Both halves together take less than 1 MiB.
	maxAnnounced = 10_000
)

// recentSet is a set of subjects whose questions were announced lately. It forgets a subject after 10 to 30 seconds, or sooner
// if it is full. Without it, a busy client's questions would be collected for each of its messages, which took 11 percent of the
// CPU time in the benchmark hot1. It is safe for concurrent use. The zero value is empty.
//
// It keeps hashes, so that long names of hostile clients need no memory. If two subjects have one hash, the questions of the
// second are not announced.
type recentSet struct {
	mu           sync.Mutex
	since        time.Time // when current began
	current, old map[uint64]struct{}
}

var subjectSeed = maphash.MakeSeed()

// add adds a subject and reports whether it was in the set.
func (r *recentSet) add(about subject, at time.Time) bool {
	hash := maphash.Comparable(subjectSeed, about)
	r.mu.Lock()
	defer r.mu.Unlock()
	if age := at.Sub(r.since).Abs(); r.current == nil || age > announcedFor || len(r.current) >= maxAnnounced {
		r.old, r.current, r.since = r.current, map[uint64]struct{}{}, at
		if age > 2*announcedFor {
			r.old = nil
		}
	}
	if _, ok := r.current[hash]; ok {
		return true
	}
	if _, ok := r.old[hash]; ok {
		return true // not added to current: a busy client would never be forgotten
	}
	r.current[hash] = struct{}{}
	return false
}
