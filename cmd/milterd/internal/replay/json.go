package replay

import (
	"encoding/json"
	"io"
)

type jsonReport struct {
	*Report
	Reasons   map[string]jsonReason     `json:"reasons"`
	NotJudged map[string]map[string]int `json:"not_judged,omitempty"` // messages by check and why
	*jsonChanges
}

type jsonReason struct {
	Action   string         `json:"action"`            // the most severe one
	Count    int            `json:"count"`             // messages
	Actions  map[string]int `json:"actions,omitempty"` // messages by action, if there are several
	Messages []*hit         `json:"messages"`
}

type jsonChanges struct {
	Changed int          `json:"changed"`
	Changes []jsonChange `json:"changes"`
}

type jsonChange struct {
	From     string   `json:"from"`
	To       string   `json:"to"`
	Because  []string `json:"because"`
	Count    int      `json:"count"`
	Messages []*hit   `json:"messages"`
}

// JSON writes the report with all messages as one JSON object.
func (r *Report) JSON(w io.Writer) error {
	out := jsonReport{Report: r, Reasons: map[string]jsonReason{}, NotJudged: map[string]map[string]int{}}
	for _, c := range r.applied() {
		reason := jsonReason{Action: c.Action.String(), Count: len(c.Hits), Messages: c.Hits}
		if len(c.actions) > 1 {
			reason.Actions = map[string]int{}
			for a, n := range c.actions {
				reason.Actions[a.String()] = n
			}
		}
		out.Reasons[c.ID] = reason
	}
	for g, n := range r.gaps {
		if out.NotJudged[g.Check] == nil {
			out.NotJudged[g.Check] = map[string]int{}
		}
		out.NotJudged[g.Check][g.Why] = n
	}
	if r.changes != nil {
		out.jsonChanges = &jsonChanges{Changed: r.changes.count, Changes: []jsonChange{}}
		for _, g := range r.changes.groups {
			c := jsonChange{From: g.From, To: g.To, Because: []string{}, Count: len(g.Hits), Messages: g.Hits}
			for _, d := range g.Because {
				c.Because = append(c.Because, d.String())
			}
			out.Changes = append(out.Changes, c)
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // a Message-ID has angle brackets
	return enc.Encode(out)
}
