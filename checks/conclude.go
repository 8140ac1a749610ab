package checks

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/miekg/dns"
)

const (
	// mostConcluded is how much memory conclusions may take, in octets, about; those go first that are asked for least.
	mostConcluded = 16 << 20
	// maxConclusion is how much one may take: what comes from more is not worth it.
	maxConclusion = 16 << 10
	// maxConclusions is how many there may be of each subject: more than all checks draw.
	maxConclusions = 32
)

// never is when something ends that does not.
var never = time.Unix(1<<40, 0)

// Conclude is Remember for what follows from nothing but answers of the DNS and what the MTA has told up to the scope: the
// client's address, from Helo on its HELO name, at MailFrom the domain of the reverse-path or, without one, its text. What one
// session has found out is known to all, until the first of those answers has to be asked for anew (Answer.Until). A value that
// is known to others must not be changed.
//
// What find is told by Remember and Conclude counts with the answers that it came from. A failure is remembered for the
// session alone, and so is what belongs to a later scope than MailFrom, and what follows from anything else, which find must say
// by ForOneself. Only a resolver made by Traced lets it be known what was asked, with the context of the check, so find must
// ask no other.
func Conclude[T any](s *Session, scope Stage, key any, find func() (T, error)) (T, error) {
	if m := s.recall(scope, key); m != nil {
		v, _ := m.value.(T)
		return v, m.err
	}
	if m := s.learn(scope, key); m != nil {
		v, _ := m.value.(T)
		return v, nil
	}
	outer := s.running.rest()
	v, err := find()
	m := remembered{key: key, value: v, err: err, from: s.running.resume(outer)}
	m.untold = err == nil && m.from.until != never && s.Time.Before(m.from.until) // what asked for nothing costs nothing
	s.memory[scope] = append(s.memory[scope], m)
	if s.running != nil && s.running.beside {
		s.teach()
	}
	return v, err
}

// ForOneself says that what is being found out by Conclude follows from what differs between sessions with the same subject.
func ForOneself(s *Session) {
	if r := s.running; r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.rely(basis{})
	}
}

// conclusions are what was concluded by all sessions. They are safe for concurrent use.
type conclusions struct {
	dossiers *otter.Cache[subject, *dossier]

	mu         sync.RWMutex  // for writing: all is being forgotten; for reading: something is being added
	generation atomic.Uint64 // how often all was forgotten
}

func newConclusions() *conclusions {
	return &conclusions{dossiers: otter.Must(&otter.Options[subject, *dossier]{
		MaximumWeight: mostConcluded,
		Weigher:       func(_ subject, d *dossier) uint32 { return d.octets },
		Executor:      func(f func()) { f() }, // no goroutines that nobody ends
	})}
}

// forget forgets all: something was asked anew before its time. Connections that began before know what was known then, and
// teach nobody any more.
func (c *conclusions) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation.Add(1)
	c.dossiers.InvalidateAll()
}

// subject is what a conclusion is about.
type subject struct {
	scope  Stage
	client netip.Addr
	helo   string // from Helo on
	sender string // at MailFrom
}

func (s *Session) subject(scope Stage) subject {
	about := subject{scope: scope, client: s.Client}
	if scope >= Helo {
		about.helo = s.Helo
	}
	if scope == MailFrom {
		about.sender = s.Envelope.MailFrom.Domain
		if about.sender == "" {
			about.sender = "<" + s.Envelope.MailFrom.Text + ">" // no domain looks like that
		}
	}
	return about
}

// dossier is what is known about one subject. It does not change.
type dossier struct {
	list   []conclusion // the newest first
	octets uint32
}

type conclusion struct {
	remembered
	octets uint32
}

// with is the dossier, which may be nil, with some conclusions more, in the place of older ones.
func (d *dossier) with(more []conclusion) *dossier {
	n := &dossier{list: more}
	if d != nil {
		older := func(o conclusion) bool {
			return !slices.ContainsFunc(more, func(m conclusion) bool { return m.key == o.key })
		}
		for _, o := range d.list {
			if len(n.list) < maxConclusions && older(o) {
				n.list = append(n.list, o)
			}
		}
	}
	for _, m := range n.list {
		n.octets += m.octets
	}
	return n
}

// octets estimates the memory that a conclusion takes, rather too high: others may hold the same answers.
func (m remembered) octets() uint32 {
	octets := 300
	for _, a := range m.from.asked {
		octets += 200
		for _, rr := range a.Answer.Records {
			octets += 150 + dns.Len(rr)
		}
	}
	return uint32(octets)
}

// learn finds out from others, and remembers it as if it had been found out here.
func (s *Session) learn(scope Stage, key any) *remembered {
	r := s.running
	if scope > MailFrom || !r.on() || r.conclusions == nil { // beyond MailFrom nobody teaches
		return nil
	}
	d := s.dossiers[scope]
	if d == nil {
		if d, _ = r.conclusions.dossiers.GetIfPresent(s.subject(scope)); d == nil {
			return nil
		}
		s.dossiers[scope] = d
	}
	for i := range d.list {
		if m := &d.list[i]; m.key == key && s.Time.Before(m.from.until) {
			r.learned(m.from)
			s.memory[scope] = append(s.memory[scope], m.remembered)
			return &m.remembered
		}
	}
	return nil
}

// teach lets others know what was concluded here, all of a subject at once.
func (s *Session) teach() {
	r := s.running
	if !r.on() || r.conclusions == nil {
		return
	}
	for scope := Connect; scope <= MailFrom; scope++ {
		var news []conclusion
		for i := range s.memory[scope] {
			m := &s.memory[scope][i]
			if !m.untold {
				continue
			}
			m.untold = false
			if octets := m.octets(); octets <= maxConclusion && len(news) < maxConclusions {
				news = append(news, conclusion{*m, octets})
			}
		}
		if len(news) > 0 {
			s.dossiers[scope] = r.conclusions.add(s.subject(scope), s.generation, news)
		}
	}
}

// add notes what was concluded about a subject, unless all was forgotten since the generation.
func (c *conclusions) add(about subject, generation uint64, news []conclusion) *dossier {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if generation != c.generation.Load() {
		return nil
	}
	d, _ := c.dossiers.Compute(about, func(old *dossier, _ bool) (*dossier, otter.ComputeOp) { return old.with(news), otter.WriteOp })
	return d
}
