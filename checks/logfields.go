package checks

import (
	"net/netip"

	"github.com/sirupsen/logrus"
)

// LogWho is what every log line about a session tells, RFC 5321's words for it. It stays as it is when the session goes on, and is
// bounded as LogValue says: lines may wait for long.
type LogWho struct {
	Session, QueueID           string
	Client                     netip.Addr // zero: unknown
	ClientName, Helo, MailFrom string
	Rcpt                       string
}

// LogWho notes what it is now.
func (s *Session) LogWho() LogWho {
	return LogWho{
		Session: s.ID, QueueID: LogValue(s.Envelope.QueueID), Client: s.Client, ClientName: LogValue(s.ClientName), Helo: LogValue(s.Helo),
		MailFrom: LogValue(s.Envelope.MailFrom.Text), Rcpt: LogValue(s.Rcpt().Text),
	}
}

// Fields adds the fields to those of a line.
func (w LogWho) Fields(f logrus.Fields) {
	client := ""
	if w.Client.IsValid() {
		client = w.Client.String()
	}
	f["session"] = w.Session
	f["queue_id"] = w.QueueID
	f["client"] = client
	f["client_name"] = w.ClientName
	f["helo"] = w.Helo
	f["mail_from"] = w.MailFrom
	f["rcpt"] = w.Rcpt
}

// LogFields are the fields that every log line about a session has.
func (s *Session) LogFields() logrus.Fields {
	f := logrus.Fields{}
	s.LogWho().Fields(f)
	return f
}

// maxLogged is how much of one value from outside stands in the log, in octets. SMTP has no longer ones.
const maxLogged = 1024

// LogValue is a value from outside as a field of the log has it: what is too long is cut. The log quotes it.
func LogValue(s string) string {
	if len(s) <= maxLogged {
		return s
	}
	return s[:maxLogged] + "..."
}
