package checks

import "github.com/sirupsen/logrus"

// LogFields returns the fields that identify the session in a log line, named as in RFC 5321.
func (s *Session) LogFields() logrus.Fields {
	client := ""
	if s.Client.IsValid() {
		client = s.Client.String()
	}
	return logrus.Fields{
		"session":     s.ID,
		"queue_id":    LogValue(s.Envelope.QueueID),
		"client":      client,
		"client_name": LogValue(s.ClientName),
		"helo":        LogValue(s.Helo),
		"mail_from":   LogValue(s.Envelope.MailFrom.Text),
		"rcpt":        LogValue(s.Rcpt().Text),
	}
}

// maxLogged is the length of the longest remote value in the log, in bytes. SMTP has no longer ones.
const maxLogged = 1024

// LogValue returns a remote value as the log has it: cut if it is too long. The formatter of the log quotes it.
func LogValue(s string) string {
	if len(s) <= maxLogged {
		return s
	}
	return s[:maxLogged] + "..."
}
