package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/cmd/milterd/internal/received"
	"milterd/milter/store"
)

// Config is a configuration to judge by.
type Config struct {
	Name string // of its file; empty: the defaults
	Text []byte // of its file
	Site received.Site
	// Build makes the checks ready in an environment. It is called more than once.
	Build func(checks.Env) ([]checks.Instance, checks.Options, error)
}

// side judges by one configuration, as its site reads the messages. With a store of its own it judges one message after the other;
// its pipelines are for many at a time if the checks remember nothing.
type side struct {
	other     bool  // it is that of the configuration to compare with
	clock     clock // of its store
	close     func()
	instances []checks.Instance
	opts      checks.Options
	mu        sync.Mutex
	pipelines map[received.Known]*pipeline
}

// pipeline is for messages of which the same is known.
type pipeline struct {
	*checks.Pipeline
	missing []missing
}

// missing is a check that cannot be asked, or not about everything.
type missing struct {
	check string
	what  received.Known
}

// newSide makes a side that remembers, until close.
func newSide(c Config, other bool, dns checks.Resolver, asked bool) (*side, error) {
	s := &side{other: other}
	records, err := store.Open(store.Config{Driver: "memory", Now: s.clock.now, MaxOctets: maxStore})
	if err != nil {
		return nil, err
	}
	s.close = func() { _ = records.Close() } // it is in memory
	if err := s.build(c, dns, records, asked); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// newScout makes a side that asks ahead, and remembers nothing.
func newScout(c Config, other bool, dns checks.Resolver) (*side, error) {
	s := &side{other: other, close: func() {}}
	return s, s.build(c, dns, nothing{}, true)
}

func (s *side) build(c Config, dns checks.Resolver, records checks.Store, asked bool) error {
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	instances, opts, err := c.Build(checks.Env{DNS: dns, Store: records, Log: logrus.NewEntry(silent)})
	if err != nil {
		return err
	}
	opts.Announce, opts.Link, opts.Trace = nil, nil, checks.TraceNone
	if !asked {
		opts.OnError = checks.Off // that nobody was asked says nothing about the mail
		for i, inst := range instances {
			if slices.ContainsFunc(inst.Info.Reasons, func(r *checks.Reason) bool { return r.Unanswered }) {
				instances[i].Check = unasked{inst.Check}
			}
		}
	}
	s.instances, s.opts, s.pipelines = instances, opts, map[received.Known]*pipeline{}
	all, err := s.pipeline(received.Everything)
	if err != nil {
		return err
	}
	if asked {
		// What is due beside the sessions is done once, as of a time after all of them: nothing of it may depend on which
		// message is judged when.
		all.Tend(context.Background(), time.Now().Add(century))
	}
	return nil
}

// unasked is a check that says so of a DNS which nobody asked: it could not find out.
type unasked struct{ inner checks.Check }

// Check implements checks.Check.
func (u unasked) Check(ctx context.Context, s *checks.Session) ([]checks.Verdict, error) {
	vs, err := u.inner.Check(ctx, s)
	kept := slices.DeleteFunc(slices.Clone(vs), func(v checks.Verdict) bool { return v.Reason != nil && v.Reason.Unanswered })
	if len(kept) < len(vs) && err == nil {
		err = ErrNotAsked
	}
	return kept, err
}

const century = 100 * 365 * 24 * time.Hour

// pipeline is the one for messages of which so much is known. A check is left out at a stage about which it would not know
// what it judges, and so are its later verdicts that build on it.
func (s *side) pipeline(known received.Known) (*pipeline, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pipelines[known]; p != nil {
		return p, nil
	}
	p := &pipeline{}
	var kept []checks.Instance
	for _, inst := range s.instances {
		stages, lacks := stagesFor(inst.Info.Stages, known)
		if lacks != 0 {
			p.missing = append(p.missing, missing{inst.Info.Name, lacks})
		}
		if len(stages) > 0 {
			inst.Info.Stages = stages
			kept = append(kept, inst)
		}
	}
	var err error
	p.Pipeline, err = checks.New(kept, s.opts)
	s.pipelines[known] = p
	return p, err
}

// needs is what must be known at each stage, if not the whole check is to be left out.
var needs = map[checks.Stage]received.Known{
	checks.Connect:  received.Client,
	checks.Helo:     received.Client | received.Helo,
	checks.MailFrom: received.Client | received.Sender,
	checks.RcptTo:   received.Client | received.Sender | received.Recipient | received.Time,

	checks.EndOfHeader: received.Content,
}

func stagesFor(stages []checks.Stage, known received.Known) (kept []checks.Stage, lacks received.Known) {
	for _, st := range stages {
		need := needs[st]
		if st == checks.EndOfHeader {
			if known&received.Content != 0 {
				lacks |= received.Time &^ known // the stand-in for it tells nothing of a date
			}
			if slices.Contains(stages, checks.RcptTo) {
				need = needs[checks.RcptTo] // what is held at the end of the header is so for who sends it
			}
		}
		lacks |= need &^ known
		if need&^known == 0 {
			kept = append(kept, st)
		}
	}
	return kept, lacks
}

// fate is what becomes of a message.
type fate struct {
	action   checks.Action // Tempfail or Reject; Off if it is let in
	reason   *checks.Reason
	trusted  bool // the configuration has it not checked at all
	outcomes []checks.Outcome
	failures []checks.Failure
	missing  []missing
}

// judge plays the session of a message. One that tells no time at all is of now.
func (s *side) judge(ctx context.Context, mail *mail, now time.Time) (fate, error) {
	m := mail.as(s.other)
	p, err := s.pipeline(m.Known)
	if err != nil {
		return fate{}, err
	}
	session := &checks.Session{
		ID: "replay", Time: m.Time, Client: m.Client, Local: m.Local, ClientName: m.ClientName, Helo: m.Helo, AuthUser: m.User,
		Macros: checks.Macros{{Name: "i", Value: m.QueueID}},
	}
	if m.Known&received.Time == 0 {
		session.Time = standIn(m, now)
	} else {
		s.clock.at.Store(m.Time.Unix())
	}
	f := fate{missing: p.missing}
	run := func(st checks.Stage) bool {
		d := p.Run(ctx, session, st)
		f.outcomes, f.failures = append(f.outcomes, d.Outcomes...), append(f.failures, d.Failures...)
		if d.Reply != nil {
			f.action, f.reason = d.Action, d.Reason
		}
		return d.Reply == nil
	}
	passes := run(checks.Connect) && run(checks.Helo)
	session.Envelope = checks.Envelope{QueueID: m.QueueID, MailFrom: checks.ParseAddress(m.From)}
	passes = passes && run(checks.MailFrom)
	if passes {
		session.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(m.To)}}
		passes = run(checks.RcptTo)
	}
	if passes {
		session.Envelope.Header = m.Header
		passes = run(checks.EndOfHeader)
	}
	if passes {
		p.Observe(ctx, session, checks.Event{Kind: checks.Accepted})
	}
	p.Observe(ctx, session, checks.Event{Kind: checks.Disconnected})
	f.trusted = session.Trusted
	return f, nil
}

// standIn is the time at which a message is judged that does not tell when it came: when it was sent, so that it is neither too
// old nor of the future.
func standIn(m *received.Facts, now time.Time) time.Time {
	if t, ok := sentAt(m.Header); ok {
		return t
	}
	return now
}

// clock is the time of the message that is being judged.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(c.at.Load(), 0) }

// maxStore is how much a side remembers of clients, in octets. What expires first is forgotten first.
const maxStore = 64 << 20

// nothing is a store that has nothing and keeps nothing: what a check asks the DNS does not depend on much of what it remembers.
type nothing struct{}

var errNothing = errors.New("nothing is remembered")

func (nothing) Get(context.Context, string) ([]byte, bool, error)                   { return nil, false, nil }
func (nothing) Put(context.Context, string, []byte, time.Duration) error            { return nil }
func (nothing) Delete(context.Context, string) error                                { return nil }
func (nothing) PutNew(context.Context, string, []byte, time.Duration) (bool, error) { return true, nil }
func (nothing) Add(_ context.Context, _ string, n int64, _ time.Duration) (int64, error) {
	return n, nil
}

func (nothing) Scan(context.Context, string) iter.Seq2[checks.Record, error] {
	return func(yield func(checks.Record, error) bool) {
		yield(checks.Record{}, fmt.Errorf("scan: %w", errNothing))
	}
}
