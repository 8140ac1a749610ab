package checks

import "slices"

// Vouch is evidence that a client or sender is known and good. It holds whatever the actions of the check's reasons.
type Vouch uint8

// The vouches, from the weakest to the strongest.
const (
	NoVouch    Vouch = iota
	SkipDelays       // no greylisting and no callout
	SkipAll          // no further check
)

// String returns the effect of the vouch on the mail, as shown to the operator.
func (v Vouch) String() string {
	switch v {
	case SkipAll:
		return "no further check"
	case SkipDelays:
		return "no greylisting and no callout"
	default:
		return "no delay"
	}
}

// Vouched is evidence for the client or the sender of the current mail that is not Unsure.
type Vouched struct {
	Check string // that found it
	Vouch Vouch  // NoVouch: evidence for this mail alone
	Why   string // printable US-ASCII; may be empty
}

// addVouches adds the vouches among the verdicts of a check to the affected recipients.
func (run *Run) addVouches(check string, verdicts []Verdict, st Stage) {
	for _, rcpt := range run.affected(st) {
		for _, v := range verdicts {
			rcpt.vouched = appendVouched(rcpt.vouched, check, v)
			if v.Unsure {
				rcpt.mayVouch = max(rcpt.mayVouch, v.Vouch)
			} else {
				rcpt.vouch = max(rcpt.vouch, v.Vouch)
			}
		}
	}
}

// maxVouchedWhy is the length of Vouched.Why in bytes.
const maxVouchedWhy = 200

// appendVouched appends the evidence of a verdict, if it has any that is not Unsure, unless the list has some of that check.
func appendVouched(list []Vouched, check string, v Verdict) []Vouched {
	isEvidence := !v.Unsure && (v.Vouch > NoVouch || v.Why != "")
	if !isEvidence || slices.ContainsFunc(list, func(e Vouched) bool { return e.Check == check }) {
		return list
	}
	return append(list, Vouched{Check: check, Vouch: v.Vouch, Why: Clean(v.Why, maxVouchedWhy)})
}

// skipsAll reports whether verdicts have a sure SkipAll, and whether they have an Unsure one.
func skipsAll(verdicts []Verdict) (sure, unsure bool) {
	for _, v := range verdicts {
		if v.Vouch >= SkipAll {
			sure, unsure = sure || !v.Unsure, unsure || v.Unsure
		}
	}
	return sure, unsure
}
