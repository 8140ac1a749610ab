package report

import (
	"encoding/json"

	"milterd/checks/facts/dmarc/aggregate"
)

// Row is what is counted for a message: a record of the report without a count, and what is needed to complete its alignment. DKIM
// and SPF of the record are "pass", or empty if they are not known yet.
type Row struct {
	aggregate.Record
	PolicyDomain          string
	StrictDKIM, StrictSPF bool // alignment that the record of the domain asks for
	Passed                bool // the message passes DMARC
}

// encodeRow returns a record without its count as a text. It shortens the record if the text would be too long.
func encodeRow(r *aggregate.Record) string {
	r.Count = 0
	for {
		text, err := json.Marshal(r)
		if err == nil && len(text) <= maxRow {
			return string(text)
		}
		if len(r.Signatures) == 0 {
			r.EnvelopeFrom, r.Sender = "", aggregate.SPFResult{} // what is left is bounded by the lengths of names
			text, _ = json.Marshal(r)
			return string(text)
		}
		r.Signatures = r.Signatures[:len(r.Signatures)-1]
	}
}

// decodeRow is the reverse of encodeRow.
func decodeRow(text string) (r aggregate.Record, err error) {
	err = json.Unmarshal([]byte(text), &r)
	return r, err
}
