package greylist

import (
	"fmt"
	"strings"
	"time"

	"milterd/checks"
)

// deferral returns the verdict for a delivery that must wait.
func deferral(r *checks.Request, d *delivery, suspicion *checks.Reason, left time.Duration) checks.Verdict {
	return checks.Verdict{Reason: greylisted, Detail: map[string]string{
		"seconds":   fmt.Sprint(seconds(left)),
		"why":       explain(r, d, suspicion),
		"suspicion": suspicion.ID,
		"identity":  d.identity.String(),
	}}
}

// maxValue is the length of a value in the text of a suspicion, in bytes. With twice as many, the Pipeline would cut off the end of the
// sentence.
const maxValue = 60

// explain returns the reply text of a suspicion. The text ends before the first placeholder that the session cannot fill:
// "no reverse DNS name of 192.0.2.9 resolves to it: {ptr}" ends before the colon.
func explain(r *checks.Request, d *delivery, suspicion *checks.Reason) string {
	text := ""
	for literal, name := range checks.TextParts(suspicion.Reply.Text) {
		text += literal
		if name == "" {
			break
		}
		value, ok := r.Value(name)
		if !ok {
			return trimClause(text, suspicion.When)
		}
		if name == "rcpt" { // at the end of the message, not always the last one
			value = "<" + r.Envelope.Rcpts[d.index].Text + ">"
		}
		text += checks.Clean(value, maxValue)
	}
	return text
}

// trimClause removes the last, incomplete clause of a sentence. It returns alternative if there is no other clause.
func trimClause(text, alternative string) string {
	if open := strings.LastIndex(text, " ("); open > strings.LastIndexByte(text, ')') {
		return text[:open]
	}
	if end := max(strings.LastIndex(text, ": "), strings.LastIndex(text, ", "), strings.LastIndex(text, "; ")); end > 0 {
		return text[:end]
	}
	return alternative
}
