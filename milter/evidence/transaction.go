package evidence

import (
	"slices"

	"milterd/checks"
)

// transaction is what is known of the running mail transaction of a session.
type transaction struct {
	counted reasonCounts // what updates have counted: a reason counts once, whatever the number of recipients
	unclean bool         // a check did not run, or a reason is a fault, see isFault
	against bool         // a reason spoke against the sender
}

type transactionKey struct{}

// transactionOf returns the transaction of a request, which begins empty.
func transactionOf(r *checks.Request) *transaction {
	t, _ := checks.Remember(r, checks.MailFrom, transactionKey{}, func() (*transaction, error) {
		return &transaction{counted: reasonCounts{}}, nil
	})
	return t
}

// update is what a decision or the acceptance of the message adds to the evidence on a transaction.
type update struct {
	*checks.Request     // a snapshot with at most maxRcpts recipients
	rcpts           int // of the transaction

	reasons reasonCounts
	against bool     // a reason speaks against the sender, for the first time in the transaction
	clean   bool     // the message was accepted, all checks ran, and no reason is a fault, see isFault
	authors []string // organisational domains of the From field; only of an accepted message
}

// Estimated sizes in memory.
const (
	snapshotBytes  = 4 << 10 // of a session with the results of its checks, and of the counts
	recipientBytes = 400     // of what checks remember of a recipient, also of one that is not kept
)

// size estimates the memory that an update holds, in bytes.
func (u update) size() int {
	n := snapshotBytes + u.rcpts*recipientBytes
	for _, r := range u.Envelope.Rcpts {
		n += len(r.Text)
	}
	for _, a := range u.authors {
		n += len(a)
	}
	return n
}

// decided adds a decision. once is a tally of the transaction.
func (t *transaction) decided(d checks.Decision, once tally) update {
	t.unclean = t.unclean || d.Partial
	u := update{reasons: reasonCounts{}}
	for _, o := range d.Outcomes {
		if isPipelineReason(o.Reason) {
			continue
		}
		id := o.Reason.ID
		t.unclean = t.unclean || isFault(o)
		added := countsOf(o, d, once).without(t.counted[id])
		if added == (counts{}) {
			continue
		}
		t.counted.add(id, added)
		u.reasons.add(id, added)
		if added.Against > 0 && !t.against {
			t.against, u.against = true, true
		}
	}
	return u
}

// accepted adds that the message is accepted, with its marks.
func (t *transaction) accepted(marks []checks.Outcome, once tally) update {
	u := update{reasons: reasonCounts{}, clean: !t.unclean}
	for id := range t.counted {
		added := counts{Passed: once}
		if u.clean {
			added.Clean = once
		}
		if slices.ContainsFunc(marks, func(o checks.Outcome) bool { return o.Reason.ID == id && o.Action == checks.Quarantine }) {
			added.Quarantined = once
		}
		u.reasons.add(id, added)
	}
	return u
}

// isFault reports whether a reason is a fault of the message: it is enforced, or it could be, as the profile safe does not
// turn it off, the profile strict enforces it, and it may be more than watched. Greylisting is no fault, because it
// follows from another reason.
func isFault(o checks.Outcome) bool {
	if o.Reason.Greylisting {
		return false
	}
	return o.Action > checks.Watch || o.Reason.Safe != checks.Off && o.Reason.Strict > checks.Watch && o.Reason.Most != checks.Watch
}

// countsOf returns how a decision counts for the reason of one of its outcomes. A reason speaks against the sender if it refused, or if it
// has Reason.Accuses, but not if an answer was missing.
func countsOf(o checks.Outcome, d checks.Decision, once tally) counts {
	c := counts{Applied: once}
	if o.Reason.Accuses && !o.Unsure {
		c.Against = 1
	}
	switch {
	case d.Reason == nil, isPipelineReason(d.Reason):
	case d.Reason.Greylisting:
		if o.Action == checks.Greylist { // another reason would not refuse the mail when it comes again
			c.Held = once
		}
	case o.Reason == d.Reason:
		c.Refused = once
		if !o.Unsure && !o.Reason.Unanswered { // or one lost DNS answer would take a relay from the known ones
			c.Against = 1
		}
	default:
		c.RefusedOtherwise = 1
	}
	return c
}

var pipelineReasons = checks.PipelineReasons()

func isPipelineReason(r *checks.Reason) bool { return slices.Contains(pipelineReasons, r) }
