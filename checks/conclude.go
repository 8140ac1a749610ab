package checks

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// maxDossiers is how many subjects are known at a time; those go first that are asked about least. One takes some 2 KiB.
	maxDossiers = 10_000
	// maxConclusions is how many of each subject: more than all checks draw.
	maxConclusions = 32
)

// never is when something ends that does not.
var never = time.Unix(1<<40, 0)

// Conclude is Remember for what follows from nothing but answers of the DNS and what the MTA has told up to the scope: the
// client's address, from Helo on its HELO name, from MailFrom on the domain of the reverse-path or, without one, its text.
// What one session has found out is known to all, until the first of those answers has to be asked for anew (Answer.Until).
// A value that is known to others must not be changed.
//
// What find is told by Remember and Conclude counts with the answers that it came from. A failure is remembered for the
// session alone, and so is what follows from anything else, which find must say by ForOneself. Only a resolver made by Traced
// lets it be known what was asked, so find must ask no other.
func Conclude[T any](s *Session, scope Stage, key any, find func() (T, error)) (T, error) {
	if m := s.recall(scope, key); m != nil {
		v, _ := m.value.(T)
		return v, m.err
	}
	if c := s.learn(scope, key); c != nil {
		v, _ := c.value.(T)
		return v, nil
	}
	r := s.running
	from, outer := r.mark(), r.rest()
	v, err := find()
	m := remembered{key: key, value: v, err: err, until: r.resume(outer)}
	s.memory[scope] = append(s.memory[scope], m)
	if err == nil && m.until != never && s.Time.Before(m.until) { // what asked for nothing costs nothing
		asked, _ := r.since(from)
		s.teach(scope, conclusion{m, known(asked)})
	}
	return v, err
}

// ForOneself says that what is being found out by Conclude follows from what differs between sessions with the same subject.
func ForOneself(s *Session) { s.running.rely(time.Time{}) }

// conclusions are what was concluded by all sessions. They are safe for concurrent use.
type conclusions struct {
	dossiers *otter.Cache[subject, *dossier]
}

func newConclusions() *conclusions {
	return &conclusions{otter.Must(&otter.Options[subject, *dossier]{
		MaximumSize: maxDossiers,
		Executor:    func(f func()) { f() }, // no goroutines that nobody ends
	})}
}

// forget forgets all: something was asked anew before its time.
func (c *conclusions) forget() { c.dossiers.InvalidateAll() }

// subject is what a conclusion is about.
type subject struct {
	scope  Stage
	client netip.Addr
	helo   string // from Helo on
	sender string // from MailFrom on
}

func (s *Session) subject(scope Stage) subject {
	about := subject{scope: scope, client: s.Client}
	if scope >= Helo {
		about.helo = s.Helo
	}
	if scope >= MailFrom {
		about.sender = s.Envelope.MailFrom.Domain
		if about.sender == "" {
			about.sender = s.Envelope.MailFrom.Text
		}
	}
	return about
}

// dossier is what is known about one subject. It is safe for concurrent use.
type dossier struct{ list atomic.Pointer[[]conclusion] }

type conclusion struct {
	remembered
	asked []*Asked
}

func (d *dossier) find(key any) *conclusion {
	if list := d.list.Load(); list != nil {
		for i := range *list {
			if (*list)[i].key == key {
				return &(*list)[i]
			}
		}
	}
	return nil
}

// add puts a conclusion into the place of an older one.
func (d *dossier) add(c conclusion) {
	for {
		old := d.list.Load()
		list := []conclusion{c}
		if old != nil {
			others := slices.DeleteFunc(slices.Clone(*old), func(o conclusion) bool { return o.key == c.key })
			list = slices.Concat(list, others[:min(len(others), maxConclusions-1)])
		}
		if d.list.CompareAndSwap(old, &list) {
			return
		}
	}
}

// dossier is that of the session's subject, or nil.
func (s *Session) dossier(scope Stage) *dossier {
	if s.dossiers[scope] == nil && s.running != nil && s.running.conclusions != nil {
		s.dossiers[scope], _ = s.running.conclusions.dossiers.GetIfPresent(s.subject(scope))
	}
	return s.dossiers[scope]
}

// learn finds out from others, and remembers it as if it had been found out here.
func (s *Session) learn(scope Stage, key any) *conclusion {
	d := s.dossier(scope)
	if d == nil || s.running.ctx == nil || s.running.ctx.Err() != nil { // what is judged when the time is up must not depend on what others know
		return nil
	}
	c := d.find(key)
	if c == nil || !s.Time.Before(c.until) {
		return nil
	}
	s.running.learned(c)
	s.memory[scope] = append(s.memory[scope], c.remembered)
	return c
}

// teach lets others know.
func (s *Session) teach(scope Stage, c conclusion) {
	if s.running == nil || s.running.conclusions == nil || s.running.ctx == nil {
		return
	}
	d := s.dossier(scope)
	if d == nil {
		d, _ = s.running.conclusions.dossiers.SetIfAbsent(s.subject(scope), new(dossier))
		s.dossiers[scope] = d
	}
	d.add(c)
}

// known is how a question was asked whose answer is there.
func known(asked []*Asked) []*Asked {
	out := make([]*Asked, len(asked))
	for i, a := range asked {
		out[i] = &Asked{a.Question, a.Answer, a.Err, 0}
	}
	return out
}
