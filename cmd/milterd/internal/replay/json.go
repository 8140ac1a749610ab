package replay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
)

// JSON writes the whole report as one JSON object. It streams the messages.
func (r *Report) JSON(w io.Writer) error {
	out := &jsonWriter{w: bufio.NewWriter(w)}
	out.raw(`{"messages":`).value(r.Messages).raw(`,"judged":`).value(r.Judged).raw(`,"unreadable":`).value(r.Unreadable)
	out.raw(`,"refused":`).value(r.Refused).raw(`,"reasons":{`)
	for i, s := range r.found() {
		if i > 0 {
			out.raw(",")
		}
		out.value(s.id).raw(`:{"action":`).value(s.action.String()).raw(`,"count":`).value(s.hits.count)
		out.messages(&s.hits).raw("}")
	}
	out.raw("}")
	if r.Trusted > 0 {
		out.raw(`,"trusted":`).value(r.Trusted)
	}
	if len(r.notJudged) > 0 {
		out.raw(`,"not_judged":`).value(r.notJudged)
	}
	if r.changes != nil {
		out.raw(`,"changed":`).value(r.changes.count).raw(`,"changes":[`)
		for i, c := range r.changes.groups {
			if i > 0 {
				out.raw(",")
			}
			because := []string{}
			for _, d := range c.because {
				because = append(because, d.String())
			}
			out.raw(`{"from":`).value(c.from).raw(`,"to":`).value(c.to).raw(`,"because":`).value(because)
			out.raw(`,"count":`).value(c.hits.count).messages(&c.hits).raw("}")
		}
		out.raw("]")
	}
	if r.Interrupted {
		out.raw(`,"interrupted":true`)
	}
	out.raw("}\n")
	if out.err != nil {
		return out.err
	}
	return out.w.Flush()
}

// jsonWriter writes pieces of JSON until one fails.
type jsonWriter struct {
	w   *bufio.Writer
	err error
}

func (j *jsonWriter) raw(text string) *jsonWriter {
	if j.err == nil {
		_, j.err = j.w.WriteString(text)
	}
	return j
}

func (j *jsonWriter) value(v any) *jsonWriter {
	if j.err != nil {
		return j
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // a Message-ID has angle brackets
	if j.err = enc.Encode(v); j.err == nil {
		_, j.err = j.w.Write(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
	}
	return j
}

// messages writes the last member of an object: a list of messages.
func (j *jsonWriter) messages(l *hits) *jsonWriter {
	j.raw(`,"messages":[`)
	first := true
	for h, err := range l.all() {
		if err != nil {
			j.err = err
			break
		}
		if !first {
			j.raw(",")
		}
		first = false
		j.value(struct {
			File    string `json:"file"`
			ID      string `json:"message_id"`
			Session string `json:"session,omitempty"`
		}{h.File, h.ID, h.Session})
	}
	return j.raw("]")
}
