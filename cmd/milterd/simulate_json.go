package main

import (
	"encoding/json"
	"fmt"
	"io"

	"milterd/checks"
	"milterd/cmd/milterd/internal/session"
	"milterd/milter/records"
)

// jsonResult is the result of a session that simulate --json prints.
type jsonResult struct {
	Reply   *jsonReply          `json:"reply"`  // the first refusal; null if there was none
	Action  string              `json:"action"` // accept, tag, quarantine, tempfail or reject
	Reason  string              `json:"reason"`
	Trusted bool                `json:"trusted,omitempty"` // the client was not checked
	Checks  []jsonCheck         `json:"checks"`
	Wrong   []*session.Mismatch `json:"wrong,omitempty"`

	marked checks.Action // the most severe mark of an accepted recipient or message
}

type jsonReply struct {
	Code     int    `json:"code"`
	Enhanced string `json:"enhanced"`
	Text     string `json:"text"`
	Link     string `json:"link"`
}

// jsonCheck is one reason that a check found. If a check found none, Reason is empty.
type jsonCheck struct {
	Check  string            `json:"check"`
	Stage  string            `json:"stage"`
	Reason string            `json:"reason"`
	Action string            `json:"action"`
	Error  string            `json:"error"`
	Millis float64           `json:"ms"`
	Detail map[string]string `json:"detail"`
	Asked  []records.Asked   `json:"asked,omitempty"`
	Notes  []string          `json:"notes,omitempty"`
	Vouch  string            `json:"vouch,omitempty"` // what vouches, and for what
}

// add adds a decision.
func (j *jsonResult) add(r *checks.Request, d checks.Decision) {
	j.Trusted = j.Trusted || r.Trusted()
	for _, result := range d.Results {
		j.Checks = append(j.Checks, jsonChecks(result)...)
	}
	if d.Reply != nil && j.Reply == nil {
		j.Reply = &jsonReply{Code: d.Reply.Code, Enhanced: d.Reply.Enhanced, Text: d.Reply.Text, Link: d.Reply.Link}
		j.Action, j.Reason = d.Action.String(), d.Reason.ID
	}
	if j.Reply == nil && len(d.Marks) > 0 && d.Marks[0].Action > j.marked {
		j.marked = d.Marks[0].Action
		j.Action, j.Reason = j.marked.String(), d.Marks[0].Reason.ID
	}
}

// finish returns the result after the last decision.
func (j *jsonResult) finish(wrong []*session.Mismatch) *jsonResult {
	if j.Action == "" {
		j.Action = "accept"
	}
	if j.Checks == nil {
		j.Checks = []jsonCheck{}
	}
	j.Wrong = wrong
	return j
}

// write writes the result in one line.
func (j *jsonResult) write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // a reply has angle brackets
	return enc.Encode(j)
}

// jsonChecks returns an element for each reason of a result. The first one has the questions, notes, error and time
// of the check.
func jsonChecks(r checks.Result) []jsonCheck {
	c := jsonCheck{Check: r.Check, Stage: r.Stage.String(), Millis: records.Millis(r.Took), Detail: map[string]string{}, Notes: r.Notes}
	if r.Err != nil {
		c.Error = r.Err.Error()
	}
	for _, a := range r.Asked {
		c.Asked = append(c.Asked, records.Asked{Question: a.Question.String(), Answer: a.AnswerText(), Millis: records.Millis(a.Took)})
	}
	for _, v := range r.Vouched {
		c.Vouch = fmt.Sprintf("%s (%s)", v.Why, v.Vouch)
	}
	if len(r.Outcomes) == 0 {
		return []jsonCheck{c}
	}
	var list []jsonCheck
	for _, o := range r.Outcomes {
		c.Reason, c.Action, c.Detail = o.Reason.ID, o.Action.String(), o.Detail
		if c.Detail == nil {
			c.Detail = map[string]string{}
		}
		list = append(list, c)
		c.Asked, c.Notes, c.Vouch, c.Error, c.Millis = nil, nil, "", "", 0
	}
	return list
}
