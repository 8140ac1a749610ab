package checks

import (
	"context"
	"io"
	"net/netip"
	"slices"
)

// Run judges one SMTP session. It keeps what the checks found, for the scope of each stage. A driver keeps one per
// connection, beside the Session that it fills. Run belongs to the session's goroutine.
type Run struct {
	pipeline     *Pipeline // nil in a Request of NewRequest
	session      *Session
	request      Request
	trusted      bool
	noQuarantine bool                    // see DisableQuarantine
	lacksMemory  bool                    // see LackMemory
	table        *table                  // of the last decision; nil before the first
	forwarding   forwarding              // of the mail that the last decision was about
	envelopeOnly bool                    // see Request.EnvelopeOnly
	memory       [numStages][]remembered // results of Remember, by scope
	findings     [numStages][]finding    // by stage, in the order in which the checks ran
	rcpts        []*rcptState            // parallel to session.Envelope.Rcpts, may be shorter
	marks        []Outcome               // Decision.Marks of the recipients accepted so far, and then of the message
	steps        []step                  // of the last decision
	trace        *trace                  // of the last decision
}

// NewRun returns a Run for a session that begins.
func (p *Pipeline) NewRun(s *Session) *Run {
	run := &Run{pipeline: p, session: s}
	run.request = Request{Session: s, run: run}
	run.setClient()
	return run
}

// setClient sets the client of the request. A private client becomes an invalid address, so that a check which knows nothing of
// private clients has no verdict on their address, and neither counts nor blocks them.
func (run *Run) setClient() {
	if run.request.Client = run.session.Client.WithZone(""); IsPrivate(run.request.Client) {
		run.request.Client = netip.Addr{}
	}
}

// Request returns the Request of the run. Its Stage is that of the check that ran last.
func (run *Run) Request() *Request { return &run.request }

// Judge judges the session at a stage. The driver has already updated the Session. At RcptTo, Judge judges the last
// recipient, and sets its Refused if it refuses. At EndOfMessage it decides about EndOfHeader too. If all checks respect their
// context, Judge returns by the deadline of ctx, or within Options.Budget if it has none.
func (run *Run) Judge(ctx context.Context, st Stage) Decision {
	p := run.pipeline
	run.begin(st)
	if run.lacksMemory && st >= MailFrom {
		return run.deferForMemory(ctx, st)
	}
	run.trusted = p.opts.Trusted.Trusts(run.session)
	if run.trusted && (st != RcptTo || !p.trustedToo) {
		return Decision{Partial: true}
	}
	if st <= MailFrom {
		run.prefetch(st)
	}
	if !p.RepliesAt(st) && (st != EndOfMessage || len(run.marks) == 0) { // Decision.Marks has those of earlier stages
		return Decision{}
	}
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = p.Within(ctx)
		defer cancel()
	}
	ctx = run.startTrace(ctx)
	d := run.decideAt(ctx, st)
	if p.opts.Trace == TraceAll || p.opts.Trace == TraceMatched && len(d.Outcomes) > 0 {
		d.Results = run.results()
	}
	if d.Reply != nil {
		run.observeRefusal(ctx, st, d)
	}
	return d
}

// begin discards the results whose scope ends when st begins.
func (run *Run) begin(st Stage) {
	run.steps = run.steps[:0]
	run.setClient()
	switch st {
	case MailFrom:
		run.discardErrors(Connect)
		run.discardErrors(Helo)
		run.EndTransaction()
	case EndOfHeader, EndOfMessage: // what BeginBody found stays; MailFrom discards it
	default:
		run.discard(st)
	}
}

// discard deletes all results of a scope.
func (run *Run) discard(scope Stage) {
	clear(run.memory[scope])
	run.memory[scope] = run.memory[scope][:0]
	clear(run.findings[scope])
	run.findings[scope] = run.findings[scope][:0]
}

// discardErrors deletes the failed results of a scope, so that the checks try again.
func (run *Run) discardErrors(scope Stage) {
	run.memory[scope] = slices.DeleteFunc(run.memory[scope], func(m remembered) bool { return m.err != nil })
	run.findings[scope] = slices.DeleteFunc(run.findings[scope], func(f finding) bool { return f.err != nil })
}

// LackMemory sets whether the driver has no memory for the message. While it has none, Judge asks no check and defers the message.
func (run *Run) LackMemory(lacks bool) { run.lacksMemory = lacks }

// deferForMemory decides a stage while the driver has no memory.
func (run *Run) deferForMemory(ctx context.Context, st Stage) Decision {
	d := Decision{Partial: true}
	if st != EndOfMessage && !run.pipeline.RepliesAt(st) {
		return d
	}
	run.refuse(&d, Outcome{Check: "memory", Stage: st, Reason: memoryFull, Action: Tempfail})
	if n := len(run.session.Envelope.Rcpts); st == RcptTo && n > 0 {
		run.session.Envelope.Rcpts[n-1].Refused = d.Reply.Enhanced
	}
	if st == EndOfMessage { // checks may have counted the recipients
		ctx, cancel := run.pipeline.Within(ctx)
		defer cancel()
		run.observeRefusal(ctx, st, d)
	}
	return d
}

// observeRefusal passes a refusal to the checks that implement Observer.
func (run *Run) observeRefusal(ctx context.Context, st Stage, d Decision) {
	run.Observe(ctx, Event{Kind: Refused, Stage: st, Reason: d.Reason, Reply: *d.Reply})
}

// TraceSize returns the size of the DNS answers that are kept for the trace, in bytes.
func (run *Run) TraceSize() int {
	size := 0
	for _, list := range run.findings {
		for i := range list {
			size += list[i].askedSize
		}
	}
	return size
}

// BeginBody is called by the driver at the end of the header section. It announces the questions of EndOfHeader, and returns the
// writer of the body, or nil if no check needs the body. The driver writes the body in chunks as it arrives, with LF or CRLF at the
// end of its lines, and then judges EndOfMessage.
func (run *Run) BeginBody() (body io.Writer) {
	p := run.pipeline
	run.request.Stage = EndOfHeader
	if p.NeedsBody() {
		contain(func() { body = p.opts.Body(&run.request) })
	}
	if !run.trusted {
		run.prefetch(EndOfHeader)
	}
	return body
}

// EndTransaction discards what was found about the transaction, which may hold its recipients and its header section. A driver
// that keeps connections open calls it at the end of a transaction, after Observe. A stage MailFrom discards it too.
func (run *Run) EndTransaction() {
	for scope := MailFrom; scope < numStages; scope++ {
		run.discard(scope)
	}
	run.rcpts, run.marks = nil, nil
}

// Within returns a context that expires after Options.Budget. The driver calls it for Observe and Authenticate. If their
// event follows a judgement, it calls it before Judge: a callback has one budget.
func (p *Pipeline) Within(ctx context.Context) (context.Context, context.CancelFunc) {
	return WithTimeout(ctx, p.opts.Budget)
}

// Observe passes an event to the checks that implement Observer. Judge does so for its own refusals, and the driver for all
// other events.
func (run *Run) Observe(ctx context.Context, e Event) {
	each(run.pipeline.observers, func(_ string, o Observer) { o.Observe(ctx, &run.request, e) })
}

// Authenticate returns the results of the checks for the trace fields, at the end of a message. A trusted session has none.
func (run *Run) Authenticate(ctx context.Context) []Authentication {
	if run.trusted {
		return nil
	}
	run.request.Stage = EndOfMessage
	var list []Authentication
	each(run.pipeline.authenticators, func(_ string, a Authenticator) { list = append(list, a.Authenticate(ctx, &run.request)...) })
	return list
}

// Again runs the named checks for a session that is over, up to RcptTo and at EndOfMessage without a body, and returns their
// results with the actions for its last recipient. It decides nothing and calls no Observer.
func (p *Pipeline) Again(ctx context.Context, s *Session, names []string) []Result {
	ctx, cancel := p.Within(ctx)
	defer cancel()
	run := p.NewRun(s)
	run.envelopeOnly = true
	ctx = run.startTrace(ctx)
	run.table = p.tableFor(s.Rcpt().Address)
	for i, inst := range p.instances {
		if !run.table.runs[i] || !slices.Contains(names, inst.Info.Name) {
			continue
		}
		for _, st := range inst.Info.Stages {
			if st <= RcptTo || st == EndOfMessage && inst.Info.Body {
				run.find(ctx, step{check: i, stage: st})
			}
		}
	}
	return run.results()
}
