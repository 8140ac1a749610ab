// Package profiles says what the profiles safe and strict would have answered to mail, by the records of the decisions about it. Start
// reading at Tally.
package profiles

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/milter/records"
)

// judged are the profiles.
var judged = [...]checks.Profile{checks.Safe, checks.Strict}

// Result is what a profile would have done with the messages.
type Result struct {
	Profile    string         `json:"profile"`
	Messages   int            `json:"messages"`
	Refused    int            `json:"refused"`
	Greylisted int            `json:"greylisted"`
	Refusing   map[string]int `json:"refusing"` // messages by the reason that refuses
	Holding    map[string]int `json:"holding"`  // messages by the reason that greylists
}

// String returns the result as a sentence.
func (r Result) String() string {
	noun := "messages"
	if r.Messages == 1 {
		noun = "message"
	}
	return fmt.Sprintf("The profile %s would have refused %d of %d %s%s, and greylisted %d%s.",
		r.Profile, r.Refused, r.Messages, noun, mostFrequent(r.Refusing), r.Greylisted, mostFrequent(r.Holding))
}

// mostFrequent returns the most frequent reasons in brackets.
func mostFrequent(counts map[string]int) string {
	const most = 4
	ids := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
	var parts []string
	for _, id := range ids[:min(len(ids), most)] {
		parts = append(parts, fmt.Sprintf("%s %d", id, counts[id]))
	}
	if len(ids) > most {
		parts = append(parts, fmt.Sprintf("%d other reasons", len(ids)-most))
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// Tally collects records. It is not safe for concurrent use.
type Tally struct {
	reasons []*checks.Reason // of the registry, in its order
	index   map[string]int   // of reasons, by id
	mail    map[string]*mail // by session and sender
}

// mail is the mail of one sender in one session.
type mail struct {
	bounces  bool                        // the sender is the null reverse-path
	accepted int                         // messages
	decisive [len(judged)]*checks.Reason // by profile, the reason that decides; nil: none applied
}

// NewTally returns a Tally without records.
func NewTally() *Tally {
	t := &Tally{index: map[string]int{}, mail: map[string]*mail{}}
	for _, r := range all.Reasons() {
		t.index[r.ID] = len(t.reasons)
		t.reasons = append(t.reasons, r)
	}
	return t
}

// Add adds a record.
func (t *Tally) Add(r records.Record) {
	key := r.Session + " " + r.MailFrom
	m := t.mail[key]
	if m == nil {
		m = &mail{bounces: r.MailFrom == ""}
		t.mail[key] = m
	}
	if r.Action == records.Accept {
		m.accepted++
	}
	for _, o := range r.Outcomes {
		n, known := t.index[o.Reason]
		if !known || t.reasons[n].Greylisting {
			continue
		}
		for i, p := range judged {
			if t.decides(p, m, t.reasons[n], m.decisive[i]) {
				m.decisive[i] = t.reasons[n]
			}
		}
	}
}

// action returns the action of a reason in a profile. Bounces are not refused for a fault that honest MTAs send them with.
func (m *mail) action(p checks.Profile, reason *checks.Reason) checks.Action {
	if m.bounces && reason.BounceWatch {
		return min(p.Action(reason), checks.Watch)
	}
	return p.Action(reason)
}

// decides reports whether a reason decides about mail in a profile in place of another one, which may be nil: it has a more severe action,
// or the same and comes before it in the registry.
func (t *Tally) decides(p checks.Profile, m *mail, reason, other *checks.Reason) bool {
	if other == nil {
		return true
	}
	a, b := m.action(p, reason), m.action(p, other)
	return a > b || a == b && t.index[reason.ID] < t.index[other.ID]
}

// Results returns the result of each profile. A sender whose messages were all refused counts as one message.
func (t *Tally) Results() []Result {
	var list []Result
	for i, p := range judged {
		r := Result{Profile: p.String(), Refusing: map[string]int{}, Holding: map[string]int{}}
		for _, m := range t.mail {
			n := max(m.accepted, 1)
			r.Messages += n
			reason := m.decisive[i]
			if reason == nil {
				continue
			}
			switch action := m.action(p, reason); {
			case action.Enforced():
				r.Refused += n
				r.Refusing[reason.ID] += n
			case action == checks.Greylist:
				r.Greylisted += n
				r.Holding[reason.ID] += n
			}
		}
		list = append(list, r)
	}
	return list
}
