package greylist

import (
	"fmt"
	"strings"
	"time"

	"milterd/checks"
)

// deferral returns the verdict for a delivery that must wait.
func deferral(r *checks.Request, d *delivery, why *checks.Reason, left time.Duration) checks.Verdict {
	return checks.Verdict{Reason: greylisted, Detail: map[string]string{
		"seconds":   fmt.Sprint(seconds(left)),
		"why":       explain(r, d, why),
		"suspicion": why.ID,
		"identity":  d.identity.String(),
	}}
}

// explain returns the reply text of a suspicion. The text ends before the first placeholder that the session cannot fill:
// "no reverse DNS name of 192.0.2.9 resolves to it: {ptr}" ends before the colon.
func explain(r *checks.Request, d *delivery, why *checks.Reason) string {
	text := ""
	for literal, name := range checks.TextParts(why.Reply.Text) {
		text += literal
		if name == "" {
			break
		}
		value, ok := placeholder(r, d, name)
		if !ok {
			return trimClause(text, why.When)
		}
		text += value
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

// placeholder returns the value of a placeholder that depends on the session alone.
func placeholder(r *checks.Request, d *delivery, name string) (value string, ok bool) {
	const maxValue = 60 // bytes; with twice as many, the Pipeline would cut off the end of the sentence
	switch name {
	case "client":
		value = r.Session.Client.String()
	case "client_name":
		value = r.ClientName
	case "helo":
		value = r.Helo
	case "mail_from":
		value = "<" + r.Envelope.MailFrom.Text + ">"
	case "domain":
		value = r.Envelope.MailFrom.Domain
	case "rcpt":
		value = "<" + r.Envelope.Rcpts[d.index].Text + ">"
	default:
		return "", false
	}
	return checks.Clean(value, maxValue), true
}
