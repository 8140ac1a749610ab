package records

import (
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"milterd/checks"
)

// encode writes a record as two lines of JSON: who and what, by which one searches, and the checks, which are long. If they
// are too long, or there are none, that line is empty. A panic on some odd answer of the DNS loses that record alone.
//
// It appends what json.Marshal would make of a Record and a list of Check, in a fifth of the time: with many a message comes
// some KiB of it.
func (p *pending) encode(to []byte) (value []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			value, err = to, fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	for _, shorten := range []func(*Record){
		func(*Record) {},
		func(r *Record) {
			for i := range r.Outcomes {
				r.Outcomes[i].Detail = nil
			}
		},
		func(r *Record) { r.Rcpts = r.Rcpts[:min(len(r.Rcpts), 1)] },
		func(r *Record) { r.Outcomes = r.Outcomes[:min(len(r.Outcomes), 1)] },
	} {
		shorten(&p.Record)
		if value = append(appendRecord(to, &p.Record), '\n'); len(value)-len(to) < maxEncoded {
			break
		}
	}
	head := len(value)
	if len(p.results) > 0 {
		value = appendTrace(value, p.results)
	}
	if len(value)-len(to) > maxEncoded-1 {
		value = value[:head]
	}
	return append(value, '\n'), nil
}

func appendRecord(b []byte, r *Record) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, r.ID)
	b = append(b, `,"number":`...)
	b = strconv.AppendInt(b, r.Number, 10)
	b = append(b, `,"time":"`...)
	b = r.Time.AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	client := ""
	if r.Client.IsValid() {
		client = r.Client.String()
	}
	for _, f := range [...]struct{ name, value string }{
		{"session", r.Session}, {"queue_id", r.QueueID}, {"client", client}, {"client_name", r.ClientName}, {"helo", r.Helo},
		{"mail_from", r.MailFrom},
	} {
		b = appendField(b, f.name, f.value)
	}
	b = append(b, `,"rcpts":`...)
	b = appendList(b, r.Rcpts, appendString)
	b = appendField(b, "action", r.Action)
	b = appendField(b, "reason", r.Reason)
	b = appendField(b, "reply", r.Reply)
	b = append(b, `,"outcomes":`...)
	b = appendList(b, r.Outcomes, appendOutcome)
	return append(b, '}')
}

func appendOutcome(b []byte, o Outcome) []byte {
	b = append(b, `{"check":`...)
	b = appendString(b, o.Check)
	b = appendField(b, "stage", o.Stage)
	b = appendField(b, "reason", o.Reason)
	b = appendField(b, "action", o.Action)
	b = appendField(b, "text", o.Text)
	if len(o.Detail) > 0 {
		b = append(b, `,"detail":`...)
		sep := byte('{')
		for k, v := range o.Detail {
			b = appendString(append(b, sep), k)
			b = appendString(append(b, ':'), v)
			sep = ','
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

// appendTrace appends a list of Check.
func appendTrace(b []byte, results []checks.Result) []byte {
	return appendList(b, results, appendCheck)
}

func appendCheck(b []byte, r checks.Result) []byte {
	b = append(b, `{"check":`...)
	b = appendString(b, r.Check)
	b = appendField(b, "stage", r.Stage.String())
	if len(r.Outcomes) > 0 {
		b = append(b, `,"reasons":`...)
		b = appendList(b, r.Outcomes, func(b []byte, o checks.Outcome) []byte { return appendString(b, o.Reason.ID) })
	}
	if r.Err != nil && r.Err.Error() != "" {
		b = appendField(b, "error", cut(r.Err.Error(), maxValue))
	}
	b = appendMillis(b, r.Took)
	if len(r.Asked) > 0 {
		b = append(b, `,"asked":`...)
		b = appendList(b, r.Asked[:min(len(r.Asked), maxAsked)], func(b []byte, a checks.Asked) []byte {
			b = append(b, `{"question":`...)
			b = appendString(b, a.Question.String())
			b = appendField(b, "answer", cut(a.Said(), maxAnswer))
			return append(appendMillis(b, a.Took), '}')
		})
	}
	if len(r.Notes) > 0 {
		b = append(b, `,"notes":`...)
		b = appendList(b, r.Notes, appendString)
	}
	return append(b, '}')
}

func appendList[T any](b []byte, list []T, one func([]byte, T) []byte) []byte {
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, v)
	}
	return append(b, ']')
}

// appendField appends a member of an object that is not the first. The name needs no quoting.
func appendField(b []byte, name, value string) []byte {
	b = append(append(append(b, `,"`...), name...), `":`...)
	return appendString(b, value)
}

func appendMillis(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(append(b, `,"ms":`...), millis(d), 'f', -1, 64)
}

// appendString appends a string. What needs more than quotes is left to those who know all of it.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // never fails for a string
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
