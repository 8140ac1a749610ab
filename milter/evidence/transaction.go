package evidence

import (
	"slices"

	"milterd/checks"
)

// fate is what became of a mail transaction that a reason applied to: a set of the constants below.
type fate uint8

const (
	applied          fate = 1 << iota
	passed                // the message was accepted
	refused               // for this reason
	held                  // greylisted because of this reason
	refusedOtherwise      // for another reason
	accused               // this reason speaks against the sender: the mail was refused for it, or it has Reason.Accuses
	cleanMail             // the message was clean although this reason applied, see update.clean
	quarantined           // the message was accepted and quarantined because of this reason
)

// transaction is what is known of the running mail transaction of a session.
type transaction struct {
	reasons []reasonFate
	partial bool // some checks did not run
	against bool // a reason spoke against the sender
}

type reasonFate struct {
	*checks.Reason
	fate        fate
	fault       bool // see isFault
	quarantines bool // its action is Quarantine for an accepted recipient
}

type transactionKey struct{}

// transactionOf returns the transaction of a request, which begins empty.
func transactionOf(r *checks.Request) *transaction {
	t, _ := checks.Remember(r, checks.MailFrom, transactionKey{}, func() (*transaction, error) { return new(transaction), nil })
	return t
}

// update is what is new about a transaction.
type update struct {
	*checks.Request     // a snapshot with at most maxRcpts recipients
	rcpts           int // of the transaction

	fates   []reasonFate
	against bool // a reason speaks against the sender, for the first time in the transaction
	// clean reports whether the message was accepted, all checks ran, and none found a fault, see isFault. A message that
	// was let in because its reason is watched is not clean.
	clean   bool
	authors []string // organisational domains of the From field; only of an accepted message
}

// Estimated sizes in memory.
const (
	snapshotBytes  = 4 << 10 // of a session with the results of its checks
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

// hits returns the fates as tallies.
func (u update) hits() hits {
	hs := hits{}
	for _, f := range u.fates {
		hs.add(f.ID, newHit(f.fate, newTally(u.Time)))
	}
	return hs
}

// decided adds a decision. A reason that applies to several recipients counts once.
func (t *transaction) decided(d checks.Decision) (u update) {
	t.partial = t.partial || d.Partial
	for _, o := range d.Outcomes {
		f := fateOf(o, d)
		if f == 0 {
			continue
		}
		if f = t.add(o, d, f); f != 0 {
			u.fates = append(u.fates, reasonFate{Reason: o.Reason, fate: f})
		}
		if f&accused != 0 && !t.against {
			t.against, u.against = true, true
		}
	}
	return u
}

// accepted adds that the message is accepted.
func (t *transaction) accepted() (u update) {
	u.clean = !t.partial && !slices.ContainsFunc(t.reasons, func(r reasonFate) bool { return r.fault })
	f := passed
	if u.clean {
		f |= cleanMail
	}
	for _, r := range t.reasons {
		own := f
		if r.quarantines {
			own |= quarantined
		}
		u.fates = append(u.fates, reasonFate{Reason: r.Reason, fate: own})
	}
	return u
}

// add adds the fate of a reason in a decision, and returns what of it is new.
func (t *transaction) add(o checks.Outcome, d checks.Decision, f fate) fate {
	i := slices.IndexFunc(t.reasons, func(r reasonFate) bool { return r.Reason == o.Reason })
	if i < 0 {
		i = len(t.reasons)
		t.reasons = append(t.reasons, reasonFate{Reason: o.Reason, fault: isFault(o)})
	}
	r := &t.reasons[i]
	r.quarantines = r.quarantines || d.Reply == nil && o.Action == checks.Quarantine
	added := f &^ r.fate
	r.fate |= f
	return added
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

// fateOf returns what a decision means for one of its outcomes; 0 if the reason is the Pipeline's own.
func fateOf(o checks.Outcome, d checks.Decision) fate {
	if isPipelineReason(o.Reason) {
		return 0
	}
	f := applied
	if o.Reason.Accuses {
		f |= accused
	}
	switch {
	case d.Reason == nil, isPipelineReason(d.Reason):
		return f
	case d.Reason.Greylisting && o.Action == checks.Greylist:
		return f | held
	case d.Reason.Greylisting: // the mail may come again, and this reason would not refuse it
		return f
	case o.Reason == d.Reason:
		return f | refused | accused
	default:
		return f | refusedOtherwise
	}
}

var pipelineReasons = checks.PipelineReasons()

func isPipelineReason(r *checks.Reason) bool { return slices.Contains(pipelineReasons, r) }
