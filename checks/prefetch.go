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
	each(p.prefetchers, func(_ string, f Prefetcher) {
		for _, q := range f.Prefetch(&run.request) {
			if !slices.ContainsFunc(all, func(a Query) bool { return a.covers(q) }) {
				all = append(all, q)
			}
		}
	})
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
	// announcedFor is the longest time for which a subject's questions are not announced again. If it were half, a busy site would
	// spend more CPU time on them; if it were double, more answers with a short TTL would expire before the next announcement.
	announcedFor = 20 * time.Second
	// maxAnnounced is the number of subjects in a recentSet, which then takes less than 1 MiB.
	maxAnnounced = 20_000
)

// recentSet is a set of subjects whose questions were announced lately. It is emptied after announcedFor, or sooner if it is full.
// Without it, the questions of a busy client are collected for each message, which took 11 percent of the CPU time in the benchmark
// hot1. It is safe for concurrent use. The zero value is empty.
//
// It keeps hashes, so that long names of hostile clients need no memory. If two subjects have one hash, the questions of the
// second are not announced.
type recentSet struct {
	mu     sync.Mutex
	since  time.Time // when the set was empty
	hashes map[uint64]struct{}
}

var subjectSeed = maphash.MakeSeed()

// add adds a subject and reports whether it was in the set.
func (r *recentSet) add(about subject, at time.Time) bool {
	hash := maphash.Comparable(subjectSeed, about)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hashes == nil || at.Sub(r.since).Abs() > announcedFor || len(r.hashes) >= maxAnnounced {
		r.hashes, r.since = map[uint64]struct{}{}, at
	}
	_, known := r.hashes[hash]
	r.hashes[hash] = struct{}{}
	return known
}
