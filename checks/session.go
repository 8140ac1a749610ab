package checks

import (
	"net/netip"
	"time"

	"milterd/headers"
)

// Stage is the point in an SMTP session at which a check has what it needs. It is also the scope of the check's results: a result of
// Connect is valid for the connection, of Helo until the next HELO, of RcptTo for one recipient, and of MailFrom, EndOfHeader
// and EndOfMessage for the mail transaction. Checks up to RcptTo run when a reply is due, see Options.ReplyAt.
type Stage uint8

// The stages of a session, in order.
const (
	Connect      Stage = iota // the client's address is known
	Helo                      // the HELO or EHLO name is known, RFC 5321 section 4.1.1.1
	MailFrom                  // the reverse-path is known
	RcptTo                    // a forward-path is known; once for each recipient
	EndOfHeader               // the header section is complete; decided together with EndOfMessage
	EndOfMessage              // the body is complete, see Run.BeginBody
	numStages
)

// String returns the name of the stage in logs, metrics and JSON.
func (st Stage) String() string {
	return [...]string{"connect", "helo", "mail", "rcpt", "header", "message", "?"}[min(st, numStages)]
}

// Session is what the MTA reported about one SMTP session. It is a plain value: a driver, a replay or a test fills it, and
// equal Sessions are judged equally. It belongs to one goroutine.
type Session struct {
	ID           string            // identifies the session in the log
	Time         time.Time         // of the last command or event
	Client       netip.Addr        // never IPv4-mapped; invalid if the MTA did not report it; see Request.Client
	Local        bool              // submitted on the mail host itself
	ClientName   string            // reverse DNS name as reported by the MTA; for display only
	Helo         string            // current HELO name; empty before the first HELO
	PreviousHelo string            // last different HELO name since STARTTLS; empty if there is none
	AuthUser     string            // empty if the client is not authenticated
	Macros       map[string]string // by name, as the MTA spells it: "i", "{client_ptr}"; merged over the connection
	Envelope     Envelope          // current mail transaction
}

// Envelope is one mail transaction, RFC 5321 section 3.3. The zero value is a transaction that has not begun.
type Envelope struct {
	QueueID  string
	MailFrom Address
	Rcpts    []Recipient     // in the order of the RCPT commands, including refused ones
	Header   []headers.Field // in order, as received; nil before EndOfHeader
}

// Recipient is one forward-path, RFC 5321 section 4.1.1.3.
type Recipient struct {
	Address
	Refused string // enhanced status code of the refusal by the MTA or by milterd; empty if accepted
}

// Rcpt returns the current recipient, which is the last one given. It returns the zero value before the first RCPT.
func (s *Session) Rcpt() Recipient {
	if n := len(s.Envelope.Rcpts); n > 0 {
		return s.Envelope.Rcpts[n-1]
	}
	return Recipient{}
}

// SetHelo sets the HELO name. After STARTTLS the previous name is discarded, RFC 3207 section 4.2.
func (s *Session) SetHelo(name string, afterStartTLS bool) {
	switch {
	case afterStartTLS:
		s.PreviousHelo = ""
	case s.Helo != "" && !SameName(s.Helo, name):
		s.PreviousHelo = s.Helo
	}
	s.Helo = name
}
