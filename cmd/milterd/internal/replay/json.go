package replay

import (
	"encoding/json"
	"io"
)

type jsonReport struct {
	Messages   int                       `json:"messages"`
	Judged     int                       `json:"judged"`
	Unreadable int                       `json:"unreadable"`
	Refused    int                       `json:"refused"`
	Reasons    map[string]jsonReason     `json:"reasons"`
	Trusted    int                       `json:"trusted,omitempty"`
	NotJudged  map[string]map[string]int `json:"not_judged,omitempty"` // messages by check and why
	*jsonChanges
	Interrupted bool `json:"interrupted,omitempty"`
}

type jsonReason struct {
	Action   string        `json:"action"`
	Count    int           `json:"count"`
	Messages []jsonMessage `json:"messages"`
}

type jsonMessage struct {
	File    string `json:"file"`
	ID      string `json:"message_id"`
	Session string `json:"session,omitempty"`
}

type jsonChanges struct {
	Changed int          `json:"changed"`
	Changes []jsonChange `json:"changes"`
}

type jsonChange struct {
	From     string        `json:"from"`
	To       string        `json:"to"`
	Because  []string      `json:"because"`
	Count    int           `json:"count"`
	Messages []jsonMessage `json:"messages"`
}

// JSON writes the report with all messages as one JSON object.
func (r *Report) JSON(w io.Writer) error {
	out := jsonReport{
		Messages: r.Messages, Judged: r.Judged, Unreadable: r.Unreadable, Refused: r.Refused, Reasons: map[string]jsonReason{},
		Trusted: r.Trusted, NotJudged: map[string]map[string]int{}, Interrupted: r.Interrupted,
	}
	for _, c := range r.applied() {
		out.Reasons[c.id] = jsonReason{Action: c.action.String(), Count: len(c.hits), Messages: jsonMessages(c.hits)}
	}
	for g, n := range r.gaps {
		if out.NotJudged[g.check] == nil {
			out.NotJudged[g.check] = map[string]int{}
		}
		out.NotJudged[g.check][g.why] = n
	}
	if r.changes != nil {
		out.jsonChanges = &jsonChanges{Changed: r.changes.count, Changes: []jsonChange{}}
		for _, g := range r.changes.groups {
			c := jsonChange{From: g.from, To: g.to, Because: []string{}, Count: len(g.hits), Messages: jsonMessages(g.hits)}
			for _, d := range g.because {
				c.Because = append(c.Because, d.String())
			}
			out.Changes = append(out.Changes, c)
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // a Message-ID has angle brackets
	return enc.Encode(out)
}

func jsonMessages(hits []*hit) []jsonMessage {
	list := []jsonMessage{}
	for _, h := range hits {
		list = append(list, jsonMessage{File: h.path, ID: h.id, Session: h.session})
	}
	return list
}
