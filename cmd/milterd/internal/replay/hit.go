package replay

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/internal/received"
)

// hit is a message to which a reason applied, or whose result changed.
type hit struct {
	Path    string `json:"file"`
	ID      string `json:"message_id"`        // empty of a record
	Session string `json:"session,omitempty"` // of a record
	From    string `json:"-"`
	Day     string `json:"-"` // empty if it is not known
	Number  int    `json:"-"` // in the file; 0 in a file of its own
}

func newHit(m *mail, f received.Facts) *hit {
	h := &hit{Path: m.file, Number: m.number, ID: strings.Clone(m.messageID()), From: strings.Clone(sender(f))} // not the whole header
	if m.attempt != nil {
		h.Session = m.attempt.Session
	}
	if f.Known&received.Time != 0 {
		h.Day = f.Time.Format(time.DateOnly)
	}
	return h
}

// Place returns where the message is.
func (h hit) Place() string {
	switch {
	case h.Number == 0:
		return h.Path
	case h.Session != "":
		return fmt.Sprintf("%s, record %d", h.Path, h.Number)
	default:
		return fmt.Sprintf("%s, message %d", h.Path, h.Number)
	}
}

// Name returns by what the message can be found.
func (h hit) Name() string {
	if h.Session != "" {
		return "session " + h.Session
	}
	return h.ID
}

// sender returns the reverse-path as the report shows it.
func sender(f received.Facts) string {
	switch {
	case f.Known&received.Sender == 0:
		return "unknown sender"
	case f.From == "":
		return "<>"
	default:
		return f.From
	}
}

// senderDomain returns the domain of the reverse-path, or if it has none, what sender returns.
func senderDomain(f received.Facts) string {
	return cmp.Or(checks.ParseAddress(f.From).Domain, sender(f))
}
