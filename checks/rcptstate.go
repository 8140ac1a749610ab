package checks

import "iter"

// rcptState is what the checks found for one recipient.
type rcptState struct {
	suspicions []*Reason // reasons with the action Greylist, in the order of the checks
	watched    []*Reason // reasons with the action Watch, likewise
	vouch      Vouch     // the strongest
	mayVouch   Vouch     // the strongest that was neither confirmed nor ruled out
	vouched    []Vouched // one of each check
	forwarding forwarding

	quarantined bool // a reason of RcptTo or before has the action Quarantine
}

// rcpt returns the state of recipient i.
func (run *Run) rcpt(i int) *rcptState {
	for len(run.rcpts) <= i {
		run.rcpts = append(run.rcpts, new(rcptState))
	}
	return run.rcpts[i]
}

// affected returns the states of the recipients that a verdict at a stage applies to: from EndOfHeader on all, before it the last.
func (run *Run) affected(st Stage) []*rcptState {
	n := len(run.session.Envelope.Rcpts)
	if n == 0 {
		return nil
	}
	last := run.rcpt(n - 1)
	if st < EndOfHeader {
		return []*rcptState{last}
	}
	return run.rcpts[:n]
}

// accepted iterates over the states of the recipients that were not refused.
func (run *Run) accepted() iter.Seq[*rcptState] {
	return func(yield func(*rcptState) bool) {
		for i, r := range run.session.Envelope.Rcpts {
			if r.Refused == "" && !yield(run.rcpt(i)) {
				return
			}
		}
	}
}

// strongest returns the strongest vouches and forwarding of the recipients that were not refused, which hold for the message. The
// other fields are empty.
func (run *Run) strongest() (all rcptState) {
	for rcpt := range run.accepted() {
		all.vouch, all.mayVouch = max(all.vouch, rcpt.vouch), max(all.mayVouch, rcpt.mayVouch)
		all.forwarding = max(all.forwarding, rcpt.forwarding)
	}
	return all
}
