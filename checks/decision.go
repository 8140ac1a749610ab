package checks

import "time"

// Decision is the result of Run.Judge.
type Decision struct {
	Reply    *Reply    // nil: continue
	Reason   *Reason   // reason of Reply
	Action   Action    // Tempfail or Reject if there is a Reply
	Record   string    // id that the link in Reply refers to; may be empty
	Failures []Failure // checks that failed, each reported once

	// Outcomes are the reasons that apply and do not refuse, in the order of the checks, and the reason of Reply as the
	// last. Other reasons that would have refused are not among them.
	Outcomes []Outcome

	// Marks are the outcomes with the action Tag or Quarantine, found at this or an earlier stage, that act on the mail if it is
	// let in: at RcptTo those of the recipient, at EndOfMessage those of the message. Each reason is there once, the most severe
	// first. The driver adds Outcome.Mark of each to the message, and quarantines it if there is a Quarantine.
	Marks []Outcome

	// Results are those of all checks that were asked, depending on Options.Trace.
	Results []Result

	// Partial reports that a check or a reason was left out: because of trust, an exemption, a forwarder, a policy with fewer
	// reasons, a SkipAll or a failure.
	Partial bool
}

// Outcome is a reason that applied, and its action.
type Outcome struct {
	Check  string
	Stage  Stage
	Reason *Reason
	Action Action
	Reply  Reply // that refused, or that would have refused if the reason were enforced
	Detail map[string]string

	Unsure bool // an answer is missing that might show that the reason does not apply: Action is Tempfail at most
}

// Failure is the error of a check.
type Failure struct {
	Check string
	Stage Stage
	Err   error
}

// Result is the result of one check at one stage.
type Result struct {
	Check    string
	Stage    Stage
	Outcomes []Outcome // for the current recipient, including reasons that are off
	Err      error
	Asked    []Asked
	Notes    []string // see Note
	Vouched  []Vouched
	Took     time.Duration
}

// Final returns the action and the reason of the reply. Without a reply it returns those of the most severe outcome, and
// without any outcome, Off and nil. Outcomes with the same action, as in the profile watch, are compared by the actions that their
// reasons have in the profile safe, and then in the profile strict.
func (d Decision) Final() (action Action, reason *Reason) {
	if d.Reply != nil {
		return d.Action, d.Reason
	}
	for _, o := range d.Outcomes {
		if o.Action > action || o.Action == action && reason != nil && o.Reason.moreSevere(reason) {
			action, reason = o.Action, o.Reason
		}
	}
	return action, reason
}
