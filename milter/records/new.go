package records

import (
	"time"

	"milterd/checks"
)

// cut shortens a remote value.
func cut(s string, limit int) string { return s[:min(len(s), limit)] }

// newRecord returns a record about a session, without a decision.
func newRecord(s *checks.Session, id string) Record {
	return Record{
		ID:         id,
		Time:       s.Time.UTC(),
		Session:    s.ID,
		QueueID:    cut(s.Envelope.QueueID, maxValue),
		Client:     s.Client,
		ClientName: cut(s.ClientName, maxValue),
		Helo:       cut(s.Helo, maxValue),
		MailFrom:   cut(s.Envelope.MailFrom.Text, maxValue),
		Rcpts:      []string{}, // not null in JSON
		Outcomes:   []Outcome{},
	}
}

// decided returns the record of a decision.
func decided(s *checks.Session, d checks.Decision) Record {
	r := newRecord(s, d.Record)
	if r.ID == "" {
		r.ID = NewID(s.Time)
	}
	if n := len(d.Outcomes); n > 0 && d.Outcomes[n-1].Stage >= checks.EndOfHeader { // about the message
		r.Rcpts = acceptedRcpts(s)
	} else if rcpt := s.Rcpt().Text; rcpt != "" {
		r.Rcpts = append(r.Rcpts, cut(rcpt, maxValue))
	}
	for _, o := range d.Outcomes {
		r.Outcomes = append(r.Outcomes, newOutcome(o))
	}
	if action, reason := d.Final(); reason != nil {
		r.Action, r.Reason = action.String(), reason.ID
		if action == checks.Quarantine {
			r.MTA = mtaOf(s)
		}
	}
	if d.Reply != nil {
		reply := *d.Reply
		reply.Link = "" // has the signature
		r.Reply = reply.String()
	}
	r.Checks = Trace(d.Results)
	return r
}

func newOutcome(o checks.Outcome) Outcome {
	out := Outcome{Check: o.Check, Stage: o.Stage.String(), Reason: o.Reason.ID, Action: o.Action.String(), Text: o.Reply.Text}
	if len(o.Detail) > 0 {
		out.Detail = make(map[string]string, len(o.Detail))
		for name, value := range o.Detail {
			out.Detail[name] = cut(value, maxValue)
		}
	}
	return out
}

// mtaOf returns the name and version of the mail server, such as "Postfix 3.7.11", or "8.17.1" of a Sendmail.
func mtaOf(s *checks.Session) string { return cut(s.Macros["v"], maxValue) }

// accepted returns the record of an accepted message.
func accepted(s *checks.Request) Record {
	r := newRecord(s.Session, NewID(s.Time))
	r.Action = Accept
	r.Vouches = vouchesOf(s.Vouched())
	for _, reason := range s.Waived() {
		r.Waived = append(r.Waived, reason.ID)
	}
	for _, o := range s.Marks() {
		if o.Action == checks.Quarantine {
			r.Quarantined, r.MTA = append(r.Quarantined, o.Reason.ID), mtaOf(s.Session)
		}
	}
	r.Rcpts = acceptedRcpts(s.Session)
	return r
}

// acceptedRcpts returns the first accepted recipients.
func acceptedRcpts(s *checks.Session) []string {
	rcpts := []string{} // not null in JSON
	for _, rcpt := range s.Envelope.Rcpts {
		if rcpt.Refused == "" && len(rcpts) < maxRcpts {
			rcpts = append(rcpts, cut(rcpt.Text, maxValue))
		}
	}
	return rcpts
}

// Trace returns the results of checks in the form of Record.Checks.
func Trace(results []checks.Result) []Check {
	var list []Check
	for _, res := range results {
		c := Check{Check: res.Check, Stage: res.Stage.String(), Millis: Millis(res.Took), Notes: res.Notes, Vouches: vouchesOf(res.Vouched)}
		for _, o := range res.Outcomes {
			c.Reasons = append(c.Reasons, o.Reason.ID)
		}
		if res.Err != nil {
			c.Error = cut(res.Err.Error(), maxValue)
		}
		for _, a := range res.Asked[:min(len(res.Asked), maxAsked)] {
			c.Asked = append(c.Asked, Asked{Question: a.Question.String(), Answer: answerText(a), Millis: Millis(a.Took)})
		}
		list = append(list, c)
	}
	return list
}

// answerText returns the text of a DNS answer. The DNS library may panic on a malformed one.
func answerText(a checks.Asked) string {
	text := "the answer cannot be shown"
	_ = checks.Protect(func() error { text = cut(a.AnswerText(), MaxAnswer); return nil })
	return text
}

// Millis returns a duration in milliseconds.
func Millis(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

func vouchesOf(list []checks.Vouched) (vouches []Vouch) {
	for _, v := range list {
		vouches = append(vouches, Vouch{Check: v.Check, Effect: v.Vouch.String(), Why: v.Why})
	}
	return vouches
}
