package replay

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/internal/received"
	"milterd/headers"
	"milterd/milter/log"
	"milterd/milter/store"
)

// Config is a configuration to judge by.
type Config struct {
	Name string // of its file; empty for the defaults
	Text []byte // of its file
	Site received.Site
	// Build returns the checks and the policy, without the options of a driver. It may be called more than once.
	Build func(checks.Env) ([]checks.Instance, checks.Options, error)
}

// judge judges messages by one configuration, with a store of its own. It is not safe for concurrent use.
type judge struct {
	config    Config
	clock     atomic.Int64 // of the store, in seconds since 1970
	store     *store.Store // in memory
	instances []checks.Instance
	opts      checks.Options
	pipelines map[received.Known]*pipeline
}

// pipeline judges the messages of which a certain set of facts is known, by the checks that need no others.
type pipeline struct {
	*checks.Pipeline
	gaps []gap
}

// gap is a check that did not judge a message, or not completely, and why.
type gap struct{ Check, Why string }

// result is what a configuration does with a message.
type result struct {
	facts    received.Facts // as the site of the configuration reads the message
	trusted  bool           // the checks were not asked
	action   checks.Action  // Tempfail or Reject; of an accepted message, Quarantine, Tag or Off
	reason   *checks.Reason // of action; nil if that is Off
	outcomes []checks.Outcome
	failures []checks.Failure
	gaps     []gap
}

// String returns the result in a few words, such as "accept" and "reject date-future".
func (r result) String() string {
	switch {
	case r.trusted:
		return "not checked"
	case r.reason == nil:
		return "accept"
	default:
		return r.action.String() + " " + r.reason.ID
	}
}

// maxStore is the size of the store of a judge, in bytes. A full store deletes the record that expires first. With half
// of it, a replay of a year of a busy server greylists known clients again; with twice as much, three judges need 400
// MiB.
const maxStore = 64 << 20

func newJudge(c Config, dns *sameAnswers) (*judge, error) {
	j := &judge{config: c, pipelines: map[received.Known]*pipeline{}}
	now := func() time.Time { return time.Unix(j.clock.Load(), 0) }
	var err error
	if j.store, err = store.Open(store.Config{Driver: "memory", Now: now, MaxBytes: maxStore}); err != nil {
		return nil, err
	}
	if err := j.build(dns); err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

func (j *judge) close() { _ = j.store.Close() } // it is in memory

// build makes the checks ready.
func (j *judge) build(dns *sameAnswers) error {
	var err error
	j.instances, j.opts, err = j.config.Build(checks.Env{DNS: dns, Store: j.store, Log: log.Discard()})
	if err != nil {
		return err
	}
	if !dns.asks() {
		j.opts.OnError = checks.Off // a question that was not asked is no fault of the mail
	}
	for i, inst := range j.instances {
		if inst.Info.Body || slices.ContainsFunc(inst.Info.Reasons, func(r *checks.Reason) bool { return r.Unanswered }) {
			j.instances[i].Check = lenient{inner: inst.Check, asks: dns.asks()}
		}
	}
	p, err := j.pipeline(received.Everything)
	if err != nil {
		return err
	}
	if dns.asks() {
		// Checks probe their DNS lists once, before the first message: probes at the time of each message would make the
		// results of a message depend on the others. The far time is after all messages, so that the probes do not expire.
		const century = 100 * 365 * 24 * time.Hour
		p.Maintain(context.Background(), time.Now().Add(century))
	}
	return nil
}

// pipeline returns the pipeline for messages of which this much is known.
func (j *judge) pipeline(known received.Known) (*pipeline, error) {
	if p := j.pipelines[known]; p != nil {
		return p, nil
	}
	p := &pipeline{}
	var instances []checks.Instance
	for _, inst := range j.instances {
		stages, lacking := stagesFor(inst.Info.Stages, known)
		if lacking != 0 {
			p.gaps = append(p.gaps, gap{Check: inst.Info.Name, Why: lacking.String() + " not known"})
		}
		if len(stages) > 0 {
			inst.Info.Stages = stages
			instances = append(instances, inst)
		}
	}
	var err error
	if p.Pipeline, err = checks.New(instances, j.opts); err != nil {
		return nil, err
	}
	j.pipelines[known] = p
	return p, nil
}

// needs is what must be known at each stage for any check.
var needs = map[checks.Stage]received.Known{
	checks.Connect:      received.Client,
	checks.Helo:         received.Client | received.Helo,
	checks.MailFrom:     received.Client | received.Sender,
	checks.RcptTo:       received.Client | received.Sender | received.Recipient | received.Time,
	checks.EndOfHeader:  received.Content,
	checks.EndOfMessage: received.Content | received.Client | received.Helo | received.Sender, // SPF is part of DMARC
}

// stagesFor returns those of the stages of a check at which it can judge a message of which this much is known, and the
// facts that are lacking for the others.
func stagesFor(stages []checks.Stage, known received.Known) (possible []checks.Stage, lacking received.Known) {
	for _, st := range stages {
		need := needs[st]
		if st >= checks.EndOfHeader {
			if known&received.Content != 0 {
				lacking |= received.Time &^ known // dates cannot be compared with the time of standIn
			}
			if slices.Contains(stages, checks.RcptTo) {
				need = needs[checks.RcptTo] // greylisting of bounces
			}
		}
		lacking |= need &^ known
		if need&^known == 0 {
			possible = append(possible, st)
		}
	}
	return possible, lacking
}

// needsBody reports whether a check needs the bodies of signed messages.
func (j *judge) needsBody() bool {
	return j.pipelines[received.Everything].NeedsBody() // build makes it
}

// decide plays the SMTP session of a message. now is the time of a message that has none at all.
func (j *judge) decide(ctx context.Context, m *mail, now time.Time) (result, error) {
	facts := m.facts(j.config.Site)
	p, err := j.pipeline(facts.Known)
	if err != nil {
		return result{}, err
	}
	s := sessionOf(facts)
	if facts.Known&received.Time == 0 {
		s.Time = standIn(m, now)
	} else {
		j.clock.Store(facts.Time.Unix())
	}
	r := result{facts: facts, gaps: p.gaps}
	run := p.NewRun(s)
	err = r.play(ctx, run, s, m.body)
	r.trusted = run.Request().Trusted()
	return r, err
}

// sessionOf returns the session of the client, before MAIL.
func sessionOf(f received.Facts) *checks.Session {
	return &checks.Session{
		ID: "replay", Time: f.Time, Client: f.Client, Local: f.Local, ClientName: f.ClientName, Helo: f.Helo, AuthUser: f.User,
		Macros: map[string]string{"i": f.QueueID},
	}
}

// standIn returns a time for a message whose time is not known: that of its Date field, so that no check finds the date wrong.
func standIn(m *mail, now time.Time) time.Time {
	field, _ := headers.First(m.header, "Date")
	if d, _ := headers.ParseDate(field.Value); !d.Time.IsZero() { // a date that breaks the grammar may have a time
		return d.Time
	}
	return now
}

// play plays the session of a message. body may be nil.
func (r *result) play(ctx context.Context, run *checks.Run, s *checks.Session, body io.Reader) error {
	accepted, err := r.accepts(ctx, run, s, body)
	if accepted {
		run.Observe(ctx, checks.Event{Kind: checks.Accepted})
	}
	run.Observe(ctx, checks.Event{Kind: checks.Disconnected})
	return err
}

// accepts runs the pipeline at each stage until it refuses the message. The error is that of reading the body.
func (r *result) accepts(ctx context.Context, run *checks.Run, s *checks.Session, body io.Reader) (accepted bool, err error) {
	if !r.passes(run.Judge(ctx, checks.Connect)) || !r.passes(run.Judge(ctx, checks.Helo)) {
		return false, nil
	}
	s.Envelope = checks.Envelope{QueueID: r.facts.QueueID, MailFrom: senderOf(r.facts)}
	if !r.passes(run.Judge(ctx, checks.MailFrom)) {
		return false, nil
	}
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(r.facts.To)}}
	if !r.passes(run.Judge(ctx, checks.RcptTo)) {
		return false, nil
	}
	s.Envelope.Header = r.facts.Header
	if w := run.BeginBody(); w != nil && body != nil {
		if _, err := io.Copy(w, body); err != nil {
			return false, err
		}
	}
	return r.passes(run.Judge(ctx, checks.EndOfMessage)), nil
}

// senderOf returns the reverse-path. One that is not known must not be taken for the null reverse-path of a bounce.
func senderOf(f received.Facts) checks.Address {
	if f.Known&received.Sender == 0 && f.From == "" {
		return checks.Address{Text: "unknown", Local: "unknown"}
	}
	return checks.ParseAddress(f.From)
}

// passes adds a decision and reports whether it lets the message pass. A deferral does not count if keys that are gone are its only cause.
func (r *result) passes(d checks.Decision) bool {
	gone := func(f checks.Failure) bool { return errors.Is(f.Err, errKeyGone) }
	r.outcomes, r.failures = append(r.outcomes, d.Outcomes...), append(r.failures, d.Failures...)
	switch {
	case d.Reply == nil && len(d.Marks) > 0:
		r.action, r.reason = d.Marks[0].Action, d.Marks[0].Reason
		return true
	case d.Reply == nil:
		r.action, r.reason = checks.Off, nil // a vouch may have lifted the marks
		return true
	case d.Reason.ID == "check-failed" && !slices.ContainsFunc(r.failures, func(f checks.Failure) bool { return !gone(f) }):
		r.outcomes = r.outcomes[:len(r.outcomes)-1] // the deferral
		return true
	}
	r.action, r.reason = d.Action, d.Reason
	return false
}

// questions returns the DNS questions that the checks will ask about a message.
func (j *judge) questions(m *mail) []checks.Query {
	facts := m.facts(j.config.Site)
	s := sessionOf(facts)
	s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress(facts.From), Header: facts.Header}
	if j.opts.Trusted.Trusts(s) {
		return nil
	}
	var list []checks.Query
	for _, st := range []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom, checks.EndOfHeader} {
		if needs[st]&^facts.Known != 0 {
			continue
		}
		r := checks.NewRequest(s, st)
		for _, inst := range j.instances {
			if p, ok := inst.Check.(checks.Prefetcher); ok {
				list = append(list, p.Prefetch(r)...)
			}
		}
	}
	return list
}
