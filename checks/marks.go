package checks

import (
	"slices"
	"strings"
)

// MarkField is the name of the header field that says why a message was tagged or quarantined.
const MarkField = "X-Milterd"

// maxMark is the length of the sentence in a field, in bytes: a line has at most 998, RFC 5322 section 2.1.1.
const maxMark = 900

// Mark returns the value of the field MarkField: the id of the reason and the text of the reply, in printable US-ASCII.
func (o Outcome) Mark() string { return o.Reason.ID + "; " + Clean(o.Reply.Text, maxMark) }

// DisableQuarantine has reasons with the action Quarantine tag the message instead. The driver calls it before the first
// stage, for an MTA that cannot quarantine.
func (run *Run) DisableQuarantine() { run.noQuarantine = true }

// addMarks returns marks with those of outcomes that have the action Tag or Quarantine. Each reason is there once, with its
// most severe action, and the most severe action comes first.
func (run *Run) addMarks(marks, outcomes []Outcome) []Outcome {
	marks = slices.Clone(marks)
	for _, o := range outcomes {
		if !o.Action.marks() {
			continue
		}
		if i := slices.IndexFunc(marks, func(m Outcome) bool { return m.Reason == o.Reason }); i >= 0 {
			marks[i].Action = max(marks[i].Action, o.Action)
			continue
		}
		if r := o.Reason.Reply; strings.Contains(r.Text, "{rcpt}") { // not every recipient may know the others
			r.Text = strings.ReplaceAll(r.Text, "{rcpt}", "a recipient")
			o.Reply = run.session.fill(r, o.Detail)
		}
		marks = append(marks, o)
	}
	slices.SortStableFunc(marks, func(a, b Outcome) int { return int(b.Action) - int(a.Action) })
	return marks
}
