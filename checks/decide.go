package checks

import (
	"context"
	"slices"
)

// decideAt decides a stage at which there may be a reply.
func (run *Run) decideAt(ctx context.Context, st Stage) Decision {
	p := run.pipeline
	switch st {
	case MailFrom:
		d := run.decide(ctx, p.general, notForwarded, Connect, MailFrom)
		if d.Reply == nil {
			d.Outcomes = nil // reported at RCPT, together with the recipient
		}
		return d
	case RcptTo:
		return run.decideRcpt(ctx)
	default:
		return run.decideMessage(ctx)
	}
}

// decideRcpt decides about the current recipient, which is the last one; there is one at RcptTo.
func (run *Run) decideRcpt(ctx context.Context) Decision {
	t := run.pipeline.tableFor(run.session.Rcpt().Address)
	by := run.forwardingTo(ctx, t)
	rcpts := run.session.Envelope.Rcpts
	current := len(rcpts) - 1
	run.rcpt(current).forwarding = by
	d := run.decide(ctx, t, by, Connect, RcptTo)
	run.rcpt(current).quarantined = slices.ContainsFunc(d.Outcomes, func(o Outcome) bool { return o.Action == Quarantine })
	accepted := slices.IndexFunc(rcpts[:current], func(r Recipient) bool { return r.Refused == "" })
	if d.Reply == nil && !run.trusted && accepted >= 0 && run.differ(accepted, current) {
		run.refuse(&d, Outcome{Check: "policies", Stage: RcptTo, Reason: policiesDiffer, Action: Tempfail})
	}
	if d.Reply != nil {
		rcpts[current].Refused = d.Reply.Enhanced
		return d
	}
	d.Marks = run.addMarks(nil, d.Outcomes)
	run.marks = run.addMarks(run.marks, d.Outcomes)
	return d
}

// decideMessage decides about the header section and the body.
func (run *Run) decideMessage(ctx context.Context) Decision {
	if run.strongest().vouch >= SkipAll {
		run.marks = nil
		return Decision{Partial: true}
	}
	d := run.decide(ctx, run.messageTable(), run.strongest().forwarding, EndOfHeader, EndOfMessage)
	run.marks = run.addMarks(run.marks, d.Outcomes)
	if d.Reply != nil || run.strongest().vouch >= SkipAll {
		run.marks = nil
	}
	d.Marks = run.marks
	return d
}

// differ reports whether two recipients cannot share a message: their actions from Greylist up at EndOfHeader or EndOfMessage
// differ, only one of them is quarantined, or the client is a forwarder of only one of them and the body is checked.
func (run *Run) differ(i, j int) bool {
	p, rcpts, bounce := run.pipeline, run.session.Envelope.Rcpts, run.session.Envelope.MailFrom.IsNull()
	a, b := p.tableFor(rcpts[i].Address), p.tableFor(rcpts[j].Address)
	otherAction := func(r *Reason) bool { return max(a.action(r, bounce), Tag) != max(b.action(r, bounce), Tag) }
	return a != b && slices.ContainsFunc(p.late, otherAction) ||
		run.rcpt(i).quarantined != run.rcpt(j).quarantined ||
		p.NeedsBody() && (run.rcpt(i).forwarding == forwarded) != (run.rcpt(j).forwarding == forwarded)
}

// decide runs the checks for the stages from first to last until one refuses. These conditions change what a check does, and
// may come together:
//
//	trusted client         only checks with TrustedToo run, and none that fails defers the mail
//	forwarded              checks with NotForwarded do not run, reasons with NotForwarded do not apply
//	may be forwarded       these checks and reasons refuse with Tempfail at most
//	SkipAll                the mail passes: no later check runs, and the Decision has no outcome
//	Unsure SkipAll         the check itself and the later ones refuse with Tempfail at most
//	Unsure reason          that reason refuses with Tempfail at most
//	failed check           its verdicts apply; if no check refuses, the mail is deferred if OnError is Tempfail, unless all reasons
//	                       of the check are off: then only a vouch may be missing
func (run *Run) decide(ctx context.Context, t *table, by forwarding, first, last Stage) Decision {
	p := run.pipeline
	run.table, run.forwarding = t, by
	mayPass := last == EndOfMessage && run.strongest().mayVouch >= SkipAll
	d := Decision{Partial: by != notForwarded || t.partial || run.trusted}
	failed, failedAt := "", last // the last check whose failure defers the mail, and the stage of the reply for that
	for i, inst := range p.instances {
		if !t.runs[i] || by == forwarded && inst.Info.NotForwarded || run.trusted && !inst.Info.TrustedToo {
			continue
		}
		var outcomes []Outcome
		for _, st := range inst.Info.Stages {
			if st < first || st > last {
				continue
			}
			f := run.find(ctx, step{check: i, stage: st})
			if f.err != nil {
				d.Partial = true
				if slices.ContainsFunc(inst.Info.Reasons, func(r *Reason) bool { return t.actions[r] != Off }) {
					failed = inst.Info.Name
					if last == EndOfMessage {
						failedAt = st // EndOfHeader too
					}
				}
				if !f.reported {
					f.reported = true
					d.Failures = append(d.Failures, Failure{Check: inst.Info.Name, Stage: st, Err: f.err})
				}
			}
			run.addVouches(inst.Info.Name, f.verdicts, st)
			passes, mayNow := skipsAll(f.verdicts)
			if passes {
				return Decision{Partial: true, Failures: d.Failures}
			}
			mayPass = mayPass || mayNow
			outcomes = append(outcomes, run.outcomes(inst.Info.Name, st, f.verdicts, Watch)...)
		}
		temporary := func(r *Reason) bool {
			return mayPass || by == mayBeForwarded && (inst.Info.NotForwarded || r.NotForwarded)
		}
		if run.apply(ctx, &d, inst.Info, outcomes, temporary) {
			return d
		}
	}
	if failed != "" && p.opts.OnError == Tempfail && !run.trusted {
		run.refuse(&d, Outcome{Check: failed, Stage: failedAt, Reason: checkFailed, Action: Tempfail, Detail: map[string]string{"check": failed}})
	}
	return d
}

// outcomes returns the outcomes of verdicts, with the actions of run.table. It leaves out actions below least.
func (run *Run) outcomes(check string, st Stage, verdicts []Verdict, least Action) []Outcome {
	var out []Outcome
	for _, v := range verdicts {
		if v.Reason == nil || run.forwarding == forwarded && v.Reason.NotForwarded {
			continue
		}
		action := run.table.action(v.Reason, run.session.Envelope.MailFrom.IsNull())
		if v.Unsure {
			action = min(action, Tempfail)
		}
		if action == Quarantine && run.noQuarantine {
			action = Tag
		}
		if action >= least {
			out = append(out, Outcome{
				Check: check, Stage: st, Reason: v.Reason, Action: action, Reply: run.session.fill(v.Reason.Reply, v.Detail), Detail: v.Detail,
				Unsure: v.Unsure,
			})
		}
	}
	return out
}

// apply adds the outcomes of one check to the decision. It reports whether the most severe one refuses; among equals, the
// first in Info.Reasons counts. The refusal is temporary if temporary returns true for its reason.
func (run *Run) apply(ctx context.Context, d *Decision, info Info, outcomes []Outcome, temporary func(*Reason) bool) bool {
	if len(outcomes) == 0 {
		return false
	}
	slices.SortStableFunc(outcomes, func(a, b Outcome) int {
		if a.Action != b.Action {
			return int(b.Action) - int(a.Action)
		}
		return slices.Index(info.Reasons, a.Reason) - slices.Index(info.Reasons, b.Reason)
	})
	for _, o := range outcomes {
		for _, rcpt := range run.affected(o.Stage) {
			switch o.Action {
			case Greylist:
				rcpt.suspicions = append(rcpt.suspicions, o.Reason)
			case Watch:
				rcpt.watched = append(rcpt.watched, o.Reason)
			}
		}
		if !o.Action.Enforced() {
			d.Outcomes = append(d.Outcomes, o)
		}
	}
	worst := outcomes[0]
	if !worst.Action.Enforced() {
		return false
	}
	worst.Unsure = worst.Unsure || temporary(worst.Reason)
	if worst.Unsure || run.escalating(ctx, worst) {
		worst.Action = Tempfail
	}
	run.refuse(d, worst)
	return true
}

// refuse makes an outcome the reply.
func (run *Run) refuse(d *Decision, o Outcome) {
	o.Reply = run.session.fill(o.Reason.Reply, o.Detail)
	if o.Action == Tempfail {
		o.Reply = o.Reply.Temporary()
	}
	if link := run.pipeline.opts.Link; link != nil {
		d.Record, o.Reply.Link = link(o.Reason, run.session.Time)
	}
	d.Reply, d.Reason, d.Action = &o.Reply, o.Reason, o.Action
	d.Outcomes = append(d.Outcomes, o)
}
