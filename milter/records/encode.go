package records

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// encode returns a record as two lines of JSON. A search parses the first one, which has all but the checks. The second
// one has the checks. It is empty if there are none or the record would be too long.
func encode(r Record) ([]byte, error) {
	checks := r.Checks
	r.Checks = nil
	head, err := json.Marshal(r)
	if err == nil && len(head) > maxText {
		head, err = json.Marshal(shorten(r))
	}
	if err != nil {
		return nil, err
	}
	text := append(head, '\n')
	if len(checks) > 0 {
		if line, err := json.Marshal(checks); err == nil && len(text)+len(line) <= maxText {
			text = append(text, line...)
		}
	}
	return append(text, '\n'), nil
}

// shorten cuts the lists of a record. The result is not longer than maxText, even if JSON escapes each byte.
func shorten(r Record) Record {
	r.Rcpts = r.Rcpts[:min(len(r.Rcpts), 1)]
	r.Outcomes = r.Outcomes[:min(len(r.Outcomes), 1)]
	for i := range r.Outcomes {
		r.Outcomes[i].Detail = nil
	}
	return r
}

// appendRecord appends an encoded record with its number to the text of a part.
func appendRecord(part []byte, number int64, text []byte) []byte {
	part = strconv.AppendInt(part, number, 10)
	return append(append(part, ' '), text...)
}

// stored is a record of a part.
type stored struct {
	Record
	checks []byte // encoded Record.Checks
}

// decode returns the records of a part that can be read.
func decode(part []byte) (list []*stored) {
	for len(part) > 0 {
		var head []byte
		r := &stored{}
		head, part, _ = bytes.Cut(part, []byte("\n"))
		r.checks, part, _ = bytes.Cut(part, []byte("\n"))
		number, head, _ := bytes.Cut(head, []byte(" "))
		n, err := strconv.ParseInt(string(number), 10, 64)
		if err == nil && json.Unmarshal(head, &r.Record) == nil {
			r.Number = n
			list = append(list, r)
		}
	}
	return list
}

// decodeChecks fills in the checks of the record.
func (r *stored) decodeChecks() error {
	if len(r.checks) == 0 {
		return nil
	}
	return json.Unmarshal(r.checks, &r.Checks)
}
