package checks

import (
	"net/netip"
	"slices"
)

// Request is what a check receives: the session, the stage, and what the Pipeline knows of them. It belongs to the
// goroutine of the session. Checks must neither modify nor retain it.
type Request struct {
	*Session
	Client netip.Addr // Session.Client without zone; invalid if that is private, as its DNS names are not the sender's
	Stage  Stage      // stage that the check is asked about
	run    *Run
}

// NewRequest returns a Request outside of a Pipeline, for tests and for work beside a session. The action of every reason is
// Watch. before are the verdicts of earlier checks; the reasons in them count as suspicions.
func NewRequest(s *Session, st Stage, before ...Verdict) *Request {
	run := (*Pipeline)(nil).NewRun(s)
	run.request.Stage = st
	run.addVouches("", before, st)
	for _, rcpt := range run.affected(st) {
		for _, v := range before {
			if v.Reason != nil {
				rcpt.suspicions = append(rcpt.suspicions, v.Reason)
			}
		}
	}
	return &run.request
}

// Action returns the action of a reason for the current recipient.
func (r *Request) Action(reason *Reason) Action {
	if r.run.table == nil {
		return Watch
	}
	return r.run.table.action(reason, r.Envelope.MailFrom.IsNull())
}

// Used reports whether a reason is on for any recipient of the site.
func (r *Request) Used(reason *Reason) bool {
	return r.run.pipeline == nil || r.run.pipeline.uses(reason)
}

// Trusted reports whether the client is trusted, see Options.Trusted.
func (r *Request) Trusted() bool { return r.run.trusted }

// EnvelopeOnly reports whether no message will follow, as in Pipeline.Again. A check that would leave a decision to the end of the
// message then decides without it.
func (r *Request) EnvelopeOnly() bool { return r.run.envelopeOnly }

// Suspicions returns the reasons with the action Greylist that earlier checks found for recipient i, in their order.
func (r *Request) Suspicions(i int) []*Reason { return r.run.rcpt(i).suspicions }

// Watched returns the reasons with the action Watch that applied to accepted recipients, each once.
func (r *Request) Watched() []*Reason {
	return r.ofAccepted(func(rcpt *rcptState) []*Reason { return rcpt.watched })
}

// Waived returns the suspicions of accepted recipients, each once. They did not delay an accepted message: a Vouched says why, unless
// greylisting is off or failed.
func (r *Request) Waived() []*Reason {
	return r.ofAccepted(func(rcpt *rcptState) []*Reason { return rcpt.suspicions })
}

// Vouched returns the evidence for accepted recipients, of each check once, in the order in which it was found.
func (r *Request) Vouched() []Vouched {
	var all []Vouched
	for rcpt := range r.run.accepted() {
		for _, v := range rcpt.vouched {
			if !slices.ContainsFunc(all, func(e Vouched) bool { return e.Check == v.Check }) {
				all = append(all, v)
			}
		}
	}
	return all
}

// ofAccepted returns the reasons that list returns for accepted recipients, each once.
func (r *Request) ofAccepted(list func(*rcptState) []*Reason) []*Reason {
	var all []*Reason
	for rcpt := range r.run.accepted() {
		for _, reason := range list(rcpt) {
			if !slices.Contains(all, reason) {
				all = append(all, reason)
			}
		}
	}
	return all
}

// Vouch returns the strongest vouch of earlier checks for recipient i.
func (r *Request) Vouch(i int) Vouch { return r.run.rcpt(i).vouch }

// MayVouch returns the strongest vouch for recipient i that was neither confirmed nor ruled out, as an answer is missing. A check
// that such a vouch would have skipped marks its verdicts as Unsure.
func (r *Request) MayVouch(i int) Vouch { return r.run.rcpt(i).mayVouch }

// Marks returns Decision.Marks of the message that was accepted last.
func (r *Request) Marks() []Outcome { return r.run.marks }

// Forwarded reports whether the client is a forwarder of recipient i, see Policy.
func (r *Request) Forwarded(i int) bool { return r.run.rcpt(i).forwarding == forwarded }

// MayBeForwarded reports whether the client may be a forwarder of recipient i, as an answer about its names is missing.
func (r *Request) MayBeForwarded(i int) bool { return r.run.rcpt(i).forwarding == mayBeForwarded }

// Snapshot returns a copy for another goroutine. It has at most rcpts recipients and the results remembered up
// to MailFrom, but no macros and no header section.
func (r *Request) Snapshot(rcpts int) *Request {
	s := *r.Session
	s.Macros, s.Envelope.Header = nil, nil
	s.Envelope.Rcpts = slices.Clone(s.Envelope.Rcpts[:min(len(s.Envelope.Rcpts), rcpts)])
	c := NewRequest(&s, MailFrom)
	c.run.trusted = r.run.trusted
	for st := Connect; st <= MailFrom; st++ {
		c.run.memory[st] = slices.Clone(r.run.memory[st])
	}
	return c
}

// remembered is the result of one call of Remember.
type remembered struct {
	key, value any
	err        error
}

// Remember returns the result of find, which it calls once per key while scope lasts. An error is remembered until the next mail
// transaction only: one lost DNS answer must not affect an hour-long connection.
//
// As with context.WithValue, key should have a type of the caller's package. One key must always have the same T. The driver does
// not count the memory of values: they must be short whatever the DNS answers, and the keys of one scope few whatever the
// client sends.
func Remember[T any](r *Request, scope Stage, key any, find func() (T, error)) (T, error) {
	memory := &r.run.memory[scope]
	for _, m := range *memory {
		if m.key == key {
			v, _ := m.value.(T)
			return v, m.err
		}
	}
	v, err := find()
	*memory = append(*memory, remembered{key: key, value: v, err: err})
	return v, err
}
