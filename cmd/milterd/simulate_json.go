package main

import (
	"fmt"
	"io"
	"time"

	"milterd/checks"
)

// outcome is what simulate --json prints.
type outcome struct {
	Reply   *jsonReply  `json:"reply"`
	Action  string      `json:"action"` // accept, tempfail or reject
	Reason  string      `json:"reason"`
	Trusted bool        `json:"trusted,omitempty"` // the client is not checked at all
	Checks  []jsonCheck `json:"checks"`
	Wrong   []jsonWrong `json:"wrong,omitempty"` // replies that a session file expects otherwise
}

type jsonWrong struct {
	Line int    `json:"line"`
	Want string `json:"want"`
	Got  string `json:"got"`
}

type jsonReply struct {
	Code     int    `json:"code"`
	Enhanced string `json:"enhanced"`
	Text     string `json:"text"`
}

// jsonCheck is one verdict of a check, or that it had none.
type jsonCheck struct {
	Check  string            `json:"check"`
	Stage  string            `json:"stage"`
	Reason string            `json:"reason"`
	Action string            `json:"action"`
	Error  string            `json:"error"`
	Millis float64           `json:"ms"`
	Detail map[string]string `json:"detail"`
	Asked  []jsonAsked       `json:"asked,omitempty"`
	Notes  []string          `json:"notes,omitempty"`
}

type jsonAsked struct {
	Question string  `json:"question"`
	Answer   string  `json:"answer"`
	Millis   float64 `json:"ms"`
}

// add notes a decision. The first refusal is the outcome.
func (o *outcome) add(d checks.Decision) {
	for _, r := range d.Results {
		o.Checks = append(o.Checks, jsonChecks(r)...)
	}
	if d.Reply != nil && o.Reply == nil {
		o.Reply = &jsonReply{d.Reply.Code, d.Reply.Enhanced, d.Reply.Text}
		o.Action, o.Reason = d.Action.String(), d.Reason.ID
	}
}

func (o *outcome) finish() *outcome {
	if o.Action == "" {
		o.Action = "accept"
	}
	if o.Checks == nil {
		o.Checks = []jsonCheck{}
	}
	return o
}

func jsonChecks(r checks.Result) []jsonCheck {
	c := jsonCheck{Check: r.Check, Stage: r.Stage.String(), Millis: millis(r.Took), Detail: map[string]string{}}
	if r.Err != nil {
		c.Error = r.Err.Error()
	}
	for _, a := range r.Asked {
		c.Asked = append(c.Asked, jsonAsked{a.Question.String(), a.Said(), millis(a.Took)})
	}
	c.Notes = r.Notes
	if len(r.Outcomes) == 0 {
		return []jsonCheck{c}
	}
	var out []jsonCheck
	for _, v := range r.Outcomes {
		one := c
		one.Reason, one.Action = v.Reason.ID, v.Action.String()
		if v.Detail != nil {
			one.Detail = v.Detail
		}
		out = append(out, one)
		c.Asked, c.Notes, c.Error, c.Millis = nil, nil, "", 0 // told with the first verdict
	}
	return out
}

func millis(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

const shownLine = 400

// shown is a line of the client as it is shown. The white space that it begins with tells the rest of a folded field.
func shown(line string) string {
	clean := checks.Clean(line, shownLine)
	if clean != "" && (line[0] == ' ' || line[0] == '\t') {
		return " " + clean
	}
	return clean
}

// printDialogue shows a line of the client and the reply to it. Lines of a message get none.
func printDialogue(w io.Writer, said string, reply []string) {
	fmt.Fprintf(w, "C: %s\n", shown(said))
	for _, line := range reply {
		fmt.Fprintf(w, "S: %s\n", line)
	}
}

// printResults shows what every check said, below the reply it led to.
func printResults(w io.Writer, d checks.Decision) {
	for _, r := range d.Results {
		said := "ok"
		if r.Err != nil {
			said = "could not find out: " + checks.Clean(r.Err.Error(), shownLine)
		}
		for i, o := range r.Outcomes {
			verdict := fmt.Sprintf("%s (%s): %s", o.Reason.ID, o.Action, o.Reply.Text)
			if i == 0 && r.Err == nil {
				said = verdict
			} else {
				said += "; " + verdict
			}
		}
		fmt.Fprintf(w, "   %-9s %-7s %s  [%.1f ms]\n", r.Check, r.Stage, said, millis(r.Took))
		for _, a := range r.Asked {
			fmt.Fprintf(w, "   %-9s %-7s   %s? %s  [%.1f ms]\n", "", "", a.Question, a.Said(), millis(a.Took))
		}
		for _, note := range r.Notes {
			fmt.Fprintf(w, "   %-9s %-7s   %s\n", "", "", note)
		}
	}
}
