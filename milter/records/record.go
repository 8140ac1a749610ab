// Package records keeps what was decided, for the operator who looks for a mail and for the sender who wants to know why his
// was refused: a record for every decision that is not plain acceptance, and one for every accepted message, bounded in
// number and time. A Signer makes the references by which a reply leads to its record.
package records

import (
	"bytes"
	"encoding/json"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
)

// Accept is the action of an accepted message; the others are those of checks.Action.
const Accept = "accept"

// Record is one decision about a session. What came from outside is as it came, at most 512 octets of each: escape it where
// it is shown.
type Record struct {
	ID         string     `json:"id"`
	Number     int64      `json:"number"` // of all records of this store, in their order
	Time       time.Time  `json:"time"`
	Session    string     `json:"session"`
	QueueID    string     `json:"queue_id"`
	Client     netip.Addr `json:"client"` // zero: unknown
	ClientName string     `json:"client_name"`
	Helo       string     `json:"helo"`
	MailFrom   string     `json:"mail_from"` // empty: the null reverse-path
	Rcpts      []string   `json:"rcpts"`     // the one in question; of a message those that were accepted, of many the first
	Action     string     `json:"action"`    // what was done: accept, watch, greylist, tempfail or reject
	Reason     string     `json:"reason"`    // id of the reason that decided; empty: none
	Reply      string     `json:"reply"`     // as it was given, without the link; empty: none
	Outcomes   []Outcome  `json:"outcomes"`  // every reason that applied and is not off, in order

	Checks []Check `json:"checks,omitempty"` // every check that was asked; none if that was not noted
}

// Outcome is a reason that applied.
type Outcome struct {
	Check  string            `json:"check"`
	Stage  string            `json:"stage"`
	Reason string            `json:"reason"`
	Action string            `json:"action"`
	Text   string            `json:"text"` // of the reply that was or would have been given
	Detail map[string]string `json:"detail,omitempty"`
}

// Check is what one check did at one stage.
type Check struct {
	Check   string   `json:"check"`
	Stage   string   `json:"stage"`
	Reasons []string `json:"reasons,omitempty"`
	Error   string   `json:"error,omitempty"`
	Millis  float64  `json:"ms"`
	Asked   []Asked  `json:"asked,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

// Asked is one question to the DNS and what it said then.
type Asked struct {
	Question string  `json:"question"`
	Answer   string  `json:"answer"`
	Millis   float64 `json:"ms"`
}

// Bounds of a record.
const (
	maxValue   = 512      // octets of one value from outside
	maxAnswer  = 1024     // octets of one answer of the DNS
	maxAsked   = 200      // questions of one check
	maxRcpts   = 20       // recipients of a message
	maxEncoded = 60 << 10 // octets of a record with its checks, and of some together; a store takes 64 KiB
)

// cut shortens a value from outside. What is cut off is not kept in memory.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.Clone(s[:limit])
}

// brief is what of results the trace tells: of the outcomes their reasons.
func brief(results []checks.Result) []checks.Result {
	list := slices.Clone(results)
	for i, r := range list {
		list[i].Outcomes = make([]checks.Outcome, len(r.Outcomes))
		for k, o := range r.Outcomes {
			list[i].Outcomes[k].Reason = o.Reason
		}
	}
	return list
}

// newRecord notes who was judged. It copies what the session changes later.
func newRecord(s *checks.Session, id string) Record {
	return Record{
		ID: id, Time: s.Time.UTC(), Session: s.ID, QueueID: cut(s.Envelope.QueueID, maxValue), Client: s.Client,
		ClientName: cut(s.ClientName, maxValue), Helo: cut(s.Helo, maxValue), MailFrom: cut(s.Envelope.MailFrom.Text, maxValue),
		Rcpts: []string{}, Outcomes: []Outcome{}, // [] in JSON
	}
}

// decided makes the record of a decision, all but its checks.
func decided(s *checks.Session, d checks.Decision) Record {
	r := newRecord(s, d.Record)
	if r.ID == "" {
		r.ID = NewID(s.Time)
	}
	if rcpt := s.Rcpt().Text; rcpt != "" {
		r.Rcpts = append(r.Rcpts, cut(rcpt, maxValue))
	}
	for _, o := range d.Outcomes {
		r.Outcomes = append(r.Outcomes, outcome(o))
	}
	if action, reason := d.Upshot(); reason != nil {
		r.Action, r.Reason = action.String(), reason.ID
	}
	if d.Reply != nil {
		reply := *d.Reply
		reply.Link = "" // whoever sees the record has it
		r.Reply = reply.String()
	}
	return r
}

func outcome(o checks.Outcome) Outcome {
	out := Outcome{Check: o.Check, Stage: o.Stage.String(), Reason: o.Reason.ID, Action: o.Action.String(), Text: o.Reply.Text}
	if len(o.Detail) > 0 {
		out.Detail = make(map[string]string, len(o.Detail))
		for k, v := range o.Detail {
			out.Detail[k] = strings.Clone(cut(v, maxValue)) // which may be part of a long field of the header
		}
	}
	return out
}

// accepted makes the record of a message.
func accepted(s *checks.Session) Record {
	r := newRecord(s, NewID(s.Time))
	r.Action = Accept
	for _, rcpt := range s.Envelope.Rcpts {
		if rcpt.Refused == "" && len(r.Rcpts) < maxRcpts {
			r.Rcpts = append(r.Rcpts, cut(rcpt.Text, maxValue))
		}
	}
	return r
}

// Trace is what checks did, as a record has it.
func Trace(results []checks.Result) []Check {
	var list []Check
	for _, res := range results {
		c := Check{Check: res.Check, Stage: res.Stage.String(), Millis: millis(res.Took), Notes: res.Notes}
		for _, o := range res.Outcomes {
			c.Reasons = append(c.Reasons, o.Reason.ID)
		}
		if res.Err != nil {
			c.Error = cut(res.Err.Error(), maxValue)
		}
		for _, a := range res.Asked[:min(len(res.Asked), maxAsked)] {
			c.Asked = append(c.Asked, Asked{a.Question.String(), cut(a.Said(), maxAnswer), millis(a.Took)})
		}
		list = append(list, c)
	}
	return list
}

func millis(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// entries are the pairs of lines in what encode wrote several times.
func entries(value []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(head, checks []byte) bool) {
		for len(value) > 0 {
			var head, checks []byte
			head, value, _ = bytes.Cut(value, []byte("\n"))
			checks, value, _ = bytes.Cut(value, []byte("\n"))
			if !yield(head, checks) {
				return
			}
		}
	}
}

// decode reads the first of such lines.
func decode(head []byte) (r Record, err error) {
	err = json.Unmarshal(head, &r)
	return r, err
}

// complete reads the checks.
func (f *found) complete() error {
	if len(f.checks) == 0 {
		return nil
	}
	return json.Unmarshal(f.checks, &f.Checks)
}
