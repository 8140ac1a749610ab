package checks

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// Instance is a check made ready.
type Instance struct {
	Info  Info
	Check Check
}

// Pipeline runs checks over sessions and decides by the operator's policy. It is safe for concurrent use by many
// sessions, each in one goroutine, and never changes.
//
// Checks run one after the other in the order they were given, the first refusal answers, and what depends on the
// client, the HELO name or the sender alone is found out once: so the same input gets the same reply every time.
type Pipeline struct {
	instances []Instance
	opts      Options
	general   *table
	exempt    *table
	policies  []policyTable
	ahead     []prefetcher
	observers []Observer
	places    [numStages][]int // of each check's finding at a stage; the checks that are not asked then have none
	findings  [numStages]int   // how many there are at a stage

	tending []atomic.Bool // by check, see Tend
}

type policyTable struct {
	recipients RecipientSet
	table      *table
}

type prefetcher struct {
	Prefetcher
	stages []Stage
}

// Reasons of the pipeline itself: no check says them.
var (
	checkFailed = &Reason{
		ID:     "check-failed",
		Reply:  Reply{Code: 451, Enhanced: "4.4.3", Text: "{check} could not be checked for now, please try again later"},
		When:   "a check could not find out, and on_error is tempfail",
		Why:    "Something that this site asks about every mail, mostly in the DNS, did not answer in time.",
		Remedy: "Nothing: your server tries again by itself. If it goes on, see that the name servers of your domain and of your address answer.",
		Safe:   Tempfail, Strict: Tempfail,
		Repair: Elsewhere,
	}
	policiesDiffer = &Reason{
		ID:     "policies-differ",
		Reply:  Reply{Code: 452, Enhanced: "4.5.3", Text: "{rcpt} has other rules for message headers than the recipients before, please send to it separately"},
		When:   "a recipient's enforced header reasons are others than those of the first accepted recipient",
		Why:    "The recipients of one message share one header section, but these recipients want different things of it.",
		Remedy: "Nothing: your server sends the message to the remaining recipients by itself (RFC 5321 section 4.5.3.1.10).",
		Safe:   Tempfail, Strict: Tempfail,
	}
)

// PipelineReasons lists the reasons for which the pipeline itself defers mail. Their actions cannot be set.
func PipelineReasons() []*Reason { return []*Reason{checkFailed, policiesDiffer} }

// New makes a pipeline of checks, in the order in which they decide. The error names a reason without an action.
func New(instances []Instance, opts Options) (*Pipeline, error) {
	p := &Pipeline{instances: instances, opts: opts, exempt: exempt(instances), tending: make([]atomic.Bool, len(instances))}
	var err error
	if p.general, err = newTable(instances, opts.Actions); err != nil {
		return nil, err
	}
	for _, pol := range opts.Policies {
		t, err := newTable(instances, pol.Actions)
		if err != nil {
			return nil, err
		}
		t.forwarders, t.partial = pol.Forwarders, t.lacks(p.general)
		p.policies = append(p.policies, policyTable{pol.Recipients, t})
	}
	used := map[*Reason]bool{}
	for _, t := range p.tables() {
		for r, a := range t.actions {
			used[r] = used[r] || a != Off
		}
		t.used = used
	}
	for st := range p.places {
		p.places[st] = make([]int, len(instances))
	}
	for i, inst := range instances {
		for _, st := range inst.Info.Stages {
			p.places[st][i] = p.findings[st]
			p.findings[st]++
		}
		if o, ok := inst.Check.(Observer); ok && p.asked(i) {
			p.observers = append(p.observers, o)
		}
		if pre, ok := inst.Check.(Prefetcher); ok && opts.Announce != nil && p.asked(i) {
			p.ahead = append(p.ahead, prefetcher{pre, inst.Info.Stages})
		}
	}
	return p, nil
}

// tables are those of all recipients.
func (p *Pipeline) tables() []*table {
	list := []*table{p.general, p.exempt}
	for _, pol := range p.policies {
		list = append(list, pol.table)
	}
	return list
}

// asked tells whether a check is asked for any recipient.
func (p *Pipeline) asked(i int) bool {
	return p.general.asks[i] || slices.ContainsFunc(p.policies, func(t policyTable) bool { return t.table.asks[i] })
}

// Needs tells whether a check that is on wants to run at a stage.
func (p *Pipeline) Needs(st Stage) bool {
	for i, inst := range p.instances {
		if p.asked(i) && slices.Contains(inst.Info.Stages, st) {
			return true
		}
	}
	return false
}

// RepliesAt tells whether Run may answer with a reply at a stage.
func (p *Pipeline) RepliesAt(st Stage) bool {
	switch st {
	case MailFrom:
		return p.opts.ReplyAt == MailFrom
	case RcptTo:
		return true
	case EndOfHeader:
		return p.Needs(EndOfHeader)
	default:
		return false
	}
}

// Decision is the outcome of one stage.
type Decision struct {
	Reply    *Reply    // nil: continue; otherwise complete and clean
	Reason   *Reason   // of the reply
	Action   Action    // Tempfail or Reject if there is a reply
	Record   string    // id that the link in the reply refers to; empty: there is none
	Outcomes []Outcome // every reason that applied and is not off, in order; the one that refused is the last
	Failures []Failure // checks that could not find out
	Results  []Result  // what every check said, if Options.Trace wants that

	// Partial: what is on for everyone was not all looked for. The client is trusted, or forwards for the recipient; the recipient
	// is exempt, or has less looked for; somebody vouches for everything; or a check could not find out.
	Partial bool
}

// Upshot is what was done in the end and the reason for it: those of the reply, or else of the most severe outcome; Off and nil if
// nothing was said.
func (d Decision) Upshot() (action Action, reason *Reason) {
	if d.Reply != nil {
		return d.Action, d.Reason
	}
	for _, o := range d.Outcomes {
		if o.Action > action {
			action, reason = o.Action, o.Reason
		}
	}
	return action, reason
}

// Outcome is a reason that applied, with what was done.
type Outcome struct {
	Check  string
	Stage  Stage
	Reason *Reason
	Action Action
	Reply  Reply // that was or would have been given
	Detail map[string]string
}

// Failure is a check that could not find out.
type Failure struct {
	Check string
	Stage Stage
	Err   error
}

// Result is what one check said at one stage.
type Result struct {
	Check    string
	Stage    Stage
	Outcomes []Outcome // with the action and the reply for this recipient; off ones too
	Err      error
	Asked    []Asked
	Notes    []string // see Note
	Took     time.Duration
}

// finding is what a check said about a scope. The zero value: it was not asked.
type finding struct {
	done     bool
	told     bool // its failure was reported
	verdicts []Verdict
	err      error
	asked    []*Asked
	notes    []string
	took     time.Duration
}

// Run judges a session at the beginning of a stage: the driver has just noted what the MTA said. For RcptTo that is the
// last of the recipients, whose Refused it sets with the reply. It returns within the budget, if the checks heed their
// context.
func (p *Pipeline) Run(ctx context.Context, s *Session, st Stage) Decision {
	s.begin(st)
	s.Trusted = p.opts.Trusted.Trusts(s)
	if s.Trusted {
		return Decision{Partial: true}
	}
	if st <= MailFrom {
		s.Stage, s.behind[st] = st, true
		if !s.Hurried {
			p.announce(s)
		}
	}
	if !p.RepliesAt(st) {
		return Decision{}
	}
	ctx, cancel := p.Within(ctx)
	defer cancel()
	ctx = p.run(ctx, s)
	var d Decision
	switch st {
	case MailFrom:
		d = p.decide(ctx, s, p.general, Connect, MailFrom)
		if d.Reply == nil {
			d.Outcomes = nil // what is watched is told at RCPT, with the recipient
		}
	case RcptTo:
		d = p.recipient(ctx, s)
	default:
		if slices.ContainsFunc(s.Envelope.Rcpts, func(r Recipient) bool { return r.Refused == "" && r.Vouch >= SkipAll }) {
			return Decision{Partial: true} // what says so holds for the whole transaction
		}
		t := p.general
		if first := firstAccepted(s.Envelope.Rcpts); first != nil {
			t = p.tableFor(first.Address)
		}
		d = p.decide(ctx, s, t, EndOfHeader, EndOfHeader)
	}
	if s.running.caughtUp.Load() {
		s.behind = [numStages]bool{}
	}
	if p.opts.Trace == TraceAll || p.opts.Trace == TraceTold && len(d.Outcomes) > 0 {
		d.Results = p.results(s)
	}
	if d.Reply != nil {
		p.Observe(ctx, s, Event{Kind: Refused, Reason: d.Reason, Reply: *d.Reply})
	}
	return d
}

// Within bounds what is done for one callback by the budget, as Run does: Observe and Authenticate have no bound of their own.
func (p *Pipeline) Within(ctx context.Context) (context.Context, context.CancelFunc) {
	return Within(ctx, p.opts.Budget)
}

// Observe tells the checks that want to know of an event. Run does so for its refusals; the driver tells of the others.
func (p *Pipeline) Observe(ctx context.Context, s *Session, e Event) {
	for _, o := range p.observers {
		contain(func() { o.Observe(ctx, s, e) })
	}
}

func (p *Pipeline) recipient(ctx context.Context, s *Session) Decision {
	t := p.tableFor(s.Rcpt().Address)
	d := p.decide(ctx, s, t, Connect, RcptTo)
	rcpts := s.Envelope.Rcpts
	if d.Reply == nil && len(rcpts) > 0 {
		if first := firstAccepted(rcpts[:len(rcpts)-1]); first != nil && p.tableFor(first.Address).header != t.header {
			p.refuse(s, &d, Outcome{Check: "policies", Stage: RcptTo, Reason: policiesDiffer, Action: Tempfail})
		}
	}
	if d.Reply != nil && len(rcpts) > 0 {
		rcpts[len(rcpts)-1].Refused = d.Reply.Enhanced
	}
	return d
}

func firstAccepted(rcpts []Recipient) *Recipient {
	for i := range rcpts {
		if rcpts[i].Refused == "" {
			return &rcpts[i]
		}
	}
	return nil
}

func (p *Pipeline) tableFor(rcpt Address) *table {
	if p.opts.Exempt.Contains(rcpt) {
		return p.exempt
	}
	for _, pol := range p.policies {
		if pol.recipients.Contains(rcpt) {
			return pol.table
		}
	}
	return p.general
}

// decide asks the checks about the scopes from the first stage to the last until one refuses.
func (p *Pipeline) decide(ctx context.Context, s *Session, t *table, first, last Stage) Decision {
	s.table, s.steps = t, s.steps[:0]
	forwarded, mayForward := p.forwarded(ctx, s, t)
	if rcpts := s.Envelope.Rcpts; last == RcptTo && len(rcpts) > 0 {
		rcpts[len(rcpts)-1].Forwarded = forwarded
	}
	mayPass := slices.ContainsFunc(s.Envelope.Rcpts, func(r Recipient) bool { return last == EndOfHeader && r.Refused == "" && r.MayPass })
	d := Decision{Partial: forwarded || mayForward || t.partial}
	failed := ""
	for i, inst := range p.instances {
		if !t.asks[i] || forwarded && inst.Info.NotForwarded {
			continue
		}
		var outcomes []Outcome
		for _, st := range inst.Info.Stages {
			if st < first || st > last {
				continue
			}
			f := p.find(ctx, s, i, st)
			s.steps = append(s.steps, step{i, st})
			if f.err != nil {
				failed, d.Partial = inst.Info.Name, true
				if !f.told {
					f.told = true
					d.Failures = append(d.Failures, Failure{inst.Info.Name, st, f.err})
				}
			}
			s.vouch(f.verdicts, st)
			if slices.ContainsFunc(f.verdicts, func(v Verdict) bool { return v.Vouch >= SkipAll && v.Unsure }) {
				mayPass = true
			} else if slices.ContainsFunc(f.verdicts, func(v Verdict) bool { return v.Vouch >= SkipAll }) {
				return Decision{Partial: true, Failures: d.Failures}
			}
			outcomes = append(outcomes, outcomesOf(s, t, inst.Info.Name, st, f.verdicts, Watch)...)
		}
		defers := func(r *Reason) bool { return mayPass || mayForward && (inst.Info.NotForwarded || r.NotForwarded) }
		if len(outcomes) > 0 && p.judge(ctx, s, &d, inst.Info, outcomes, defers) {
			return d
		}
	}
	if failed != "" && p.opts.OnError == Tempfail {
		p.refuse(s, &d, Outcome{Check: failed, Stage: last, Reason: checkFailed, Action: Tempfail, Detail: map[string]string{"check": failed}})
	}
	return d
}

// step is a check at a stage.
type step struct {
	check int
	stage Stage
}

// results is what the checks said at the steps of the last decision.
func (p *Pipeline) results(s *Session) []Result {
	list := make([]Result, len(s.steps))
	for i, st := range s.steps {
		check, f := p.instances[st.check].Info.Name, s.finding(p, st)
		var asked []Asked
		for _, a := range f.asked {
			asked = append(asked, *a)
		}
		list[i] = Result{check, st.stage, outcomesOf(s, s.table, check, st.stage, f.verdicts, Off), f.err, asked, f.notes, f.took}
	}
	return list
}

// forwarded tells whether the client passes mail on to the recipients of a table, or may do so, which could not be found out.
func (p *Pipeline) forwarded(ctx context.Context, s *Session, t *table) (is, may bool) {
	if t.forwarders.hasAddr(s.Client) || len(t.forwarders.Names) == 0 || p.opts.ClientNamed == nil {
		return t.forwarders.hasAddr(s.Client), false
	}
	is, err := p.opts.ClientNamed(ctx, s, t.forwarders.hasName)
	return is, err != nil
}

// judge lets the most severe outcome of one check refuse, if any does: among equals the first of its Info. A reason that defers
// refuses for now only: there may be an exemption, which a failing DNS hides.
func (p *Pipeline) judge(ctx context.Context, s *Session, d *Decision, info Info, outcomes []Outcome, defers func(*Reason) bool) bool {
	slices.SortStableFunc(outcomes, func(a, b Outcome) int {
		if a.Action != b.Action {
			return int(b.Action) - int(a.Action)
		}
		return slices.Index(info.Reasons, a.Reason) - slices.Index(info.Reasons, b.Reason)
	})
	for _, o := range outcomes {
		if o.Action == Greylist {
			s.suspect(o.Reason, o.Stage)
		}
		if o.Action == Watch || o.Action == Greylist {
			d.Outcomes = append(d.Outcomes, o)
		}
	}
	if !outcomes[0].Action.Enforced() {
		return false
	}
	if defers(outcomes[0].Reason) || p.respite(ctx, s, outcomes[0]) {
		outcomes[0].Action = Tempfail
	}
	p.refuse(s, d, outcomes[0])
	return true
}

// refuse makes an outcome the answer.
func (p *Pipeline) refuse(s *Session, d *Decision, o Outcome) {
	o.Reply = s.fill(o.Reason.Reply, o.Detail)
	if o.Action == Tempfail {
		o.Reply = o.Reply.Temporary()
	}
	if p.opts.Link != nil {
		d.Record, o.Reply.Link = p.opts.Link(o.Reason, s.Time)
	}
	d.Reply, d.Reason, d.Action = &o.Reply, o.Reason, o.Action
	d.Outcomes = append(d.Outcomes, o)
}

// outcomesOf makes outcomes of verdicts, as far as the action is a least one or more.
func outcomesOf(s *Session, t *table, check string, st Stage, verdicts []Verdict, least Action) []Outcome {
	var out []Outcome
	for _, v := range verdicts {
		if v.Reason == nil || s.Rcpt().Forwarded && v.Reason.NotForwarded {
			continue
		}
		o := Outcome{Check: check, Stage: st, Reason: v.Reason, Action: t.action(v.Reason), Detail: v.Detail}
		if v.Unsure {
			o.Action = o.Action.forNow()
		}
		if o.Action < least {
			continue
		}
		o.Reply = s.fill(v.Reason.Reply, v.Detail)
		out = append(out, o)
	}
	return out
}

// inQuestion are the recipients that a verdict at a stage is about.
func (s *Session) inQuestion(st Stage) []Recipient {
	rcpts := s.Envelope.Rcpts
	if st == EndOfHeader || len(rcpts) == 0 {
		return rcpts
	}
	return rcpts[len(rcpts)-1:]
}

// vouch notes the evidence for the client that a check has found.
func (s *Session) vouch(verdicts []Verdict, st Stage) {
	for _, v := range verdicts {
		for i, rcpts := 0, s.inQuestion(st); i < len(rcpts); i++ {
			if v.Unsure {
				rcpts[i].MayPass = rcpts[i].MayPass || v.Vouch >= SkipAll
			} else {
				rcpts[i].Vouch = max(rcpts[i].Vouch, v.Vouch)
			}
		}
	}
}

// suspect notes a suspicion for those whom it concerns.
func (s *Session) suspect(r *Reason, st Stage) {
	for i, rcpts := 0, s.inQuestion(st); i < len(rcpts); i++ {
		if rcpts[i].Refused == "" {
			rcpts[i].Suspicions = append(rcpts[i].Suspicions, r)
		}
	}
}
