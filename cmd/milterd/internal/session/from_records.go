package session

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter/records"
)

// FromRecords returns a session file that reproduces the decisions of one session: the commands, the DNS answers and the codes
// of the replies. The local parts of recipients are replaced. The records are those of one session in any order, with their
// traces.
//
// omitted has the reasons of the decisions about the message: no record keeps a message, so the file cannot have it. When the
// file is played, a reply may be another one if the decision depended on earlier mail, or on an answer of which the record has
// only a part; such an answer is a comment in the zone.
func FromRecords(list []records.Record) (text []byte, omitted []string, err error) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b records.Record) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Number, b.Number)) })
	if len(list) == 0 {
		return nil, nil, fmt.Errorf("no decision of the session is kept")
	}
	z := zoneWriter{seen: map[string]bool{}}
	s := sessionWriter{rcpts: map[string]string{}}
	for _, r := range list {
		for _, c := range r.Checks {
			for _, a := range c.Asked {
				z.add(a)
			}
		}
		s.add(r)
	}
	if s.err != nil {
		return nil, nil, s.err
	}
	title := fmt.Sprintf("Session %s of %s.", list[0].Session, list[0].Time.UTC().Format(time.RFC3339))
	return fmt.Appendf(nil, "%s\n\n-- zone --\n%s-- smtp --\n%s", title, z.text(), s.lines.String()), s.omitted, nil
}

// zoneWriter makes zone text from the DNS questions of records and their answers, see checks.Asked.AnswerText.
type zoneWriter struct {
	lines []string
	seen  map[string]bool // questions
	empty []string        // names that exist without the record that was asked for
}

// add adds the first answer to a question.
func (z *zoneWriter) add(a records.Asked) {
	name, rrType, ok := strings.Cut(a.Question, " ")
	if !ok || z.seen[a.Question] {
		return
	}
	z.seen[a.Question] = true
	if strings.HasPrefix(a.Answer, "no answer: ") {
		z.line("!SERVFAIL " + name + " " + rrType)
		return
	}
	found := false
	parts := splitAnswer(a.Answer)
	for i, data := range parts {
		switch target, alias := strings.CutPrefix(data, "CNAME "); {
		case len(a.Answer) >= records.MaxAnswer && i == len(parts)-1:
			found = true
			z.incomplete(name + " " + rrType + " " + data) // a part of 192.0.2.12 may be 192.0.2.1
		case data == "no such name":
			return
		case data == "no such record":
		case alias && rrType != "CNAME":
			z.line(name + " CNAME " + target)
			name = target
		default:
			found = true
			z.line(name + " " + rrType + " " + data)
		}
	}
	if !found {
		z.empty = append(z.empty, name)
	}
}

// line adds a line of zone text, if it is new. A line that is not one record becomes a comment.
func (z *zoneWriter) line(text string) {
	if slices.Contains(z.lines, text) {
		return
	}
	directive := strings.HasPrefix(text, "$") // $INCLUDE, $GENERATE
	if _, err := checktest.ParseZone(text); err != nil || directive || strings.ContainsFunc(text, isControl) {
		z.incomplete(text)
		return
	}
	z.lines = append(z.lines, text)
}

// maxComment is the length of an incomplete record in a comment, in bytes.
const maxComment = 200

// incomplete adds a comment with a record of which the trace has only a part.
func (z *zoneWriter) incomplete(text string) {
	z.lines = append(z.lines, "; incomplete: "+checks.Clean(text, maxComment))
}

// text returns the zone. A name that exists without the record that was asked for has an HINFO record, which no check
// asks for.
func (z *zoneWriter) text() string {
	for _, name := range z.empty {
		has := func(line string) bool { return strings.HasPrefix(line, name+" ") }
		if !slices.ContainsFunc(z.lines, has) {
			z.line(name + ` HINFO "" ""`)
		}
	}
	return strings.Join(z.lines, "\n") + "\n"
}

// splitAnswer splits the text of an answer at the commas between its records, which are not in quotes. A long record was cut:
// it ends with "..." and has no closing quote, and the text of the next record begins with one.
func splitAnswer(text string) []string {
	var list []string
	begin, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case strings.HasPrefix(text[i:], ", ") && (!quoted || strings.HasSuffix(text[:i], "...") && strings.HasPrefix(text[i:], `, "`)):
			list = append(list, text[begin:i])
			begin, quoted = i+len(", "), false
		}
	}
	return append(list, text[begin:])
}

// sessionWriter makes the SMTP session of records.
type sessionWriter struct {
	lines   strings.Builder
	begun   bool              // the client is connected
	helo    string            // empty before HELO
	mail    string            // the reverse-path, in brackets; empty outside of a transaction
	queueID string            // of the transaction, if the MTA sent it
	named   []string          // recipients of the transaction
	rcpts   map[string]string // replacements of the recipients of the session
	omitted []string          // see FromRecords
	err     error             // the first one
}

// say adds a line. A control character is an error: it could end the line.
func (s *sessionWriter) say(line string) {
	if s.err == nil && strings.ContainsFunc(line, isControl) {
		s.err = fmt.Errorf("%q has a control character, which a session file cannot have", line)
	}
	s.lines.WriteString(line + "\n")
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// add adds a decision.
func (s *sessionWriter) add(r records.Record) {
	s.connect(r)
	stage := stageOf(r)
	switch {
	case stage == checks.EndOfHeader.String(), stage == checks.EndOfMessage.String():
		s.begin(r, false)
		s.omitted = append(s.omitted, r.Reason)
		s.addRcpts(r.Rcpts)
	case len(r.Rcpts) == 0 && r.MailFrom == "" && r.Reply == "": // before MAIL; the first reply is that to MAIL, see reply_at
	case len(r.Rcpts) == 0:
		s.begin(r, true)
		s.expect(r)
		if r.Reply != "" {
			s.mail = ""
		}
	case r.Reply == "":
		s.begin(r, false)
		s.addRcpts(r.Rcpts)
	default:
		s.begin(r, false)
		s.say("C: RCPT TO:<" + s.replaced(r.Rcpts[0]) + ">")
		s.expect(r)
	}
}

// connect adds the connection, unless it is there, and HELO if its name is another one.
func (s *sessionWriter) connect(r records.Record) {
	if !s.begun {
		s.begun = true
		s.say("time " + r.Time.UTC().Truncate(time.Second).Format(time.RFC3339))
		client := "client local"
		if r.Client.IsValid() {
			client = strings.TrimSpace("client " + r.Client.WithZone("").String() + " " + clientName(r))
		}
		s.say(client)
	}
	if r.Helo != s.helo {
		s.helo, s.mail = r.Helo, ""
		s.say("C: EHLO " + r.Helo)
	}
}

// begin adds MAIL, unless the transaction of the decision has begun. atMail is for a decision about MAIL itself.
func (s *sessionWriter) begin(r records.Record, atMail bool) {
	mail := "<" + r.MailFrom + ">"
	another := s.queueID != "" && r.QueueID != "" && r.QueueID != s.queueID
	if mail == s.mail && !another && !atMail {
		s.queueID = cmp.Or(r.QueueID, s.queueID) // Postfix sends it after the first recipient
		return
	}
	if s.mail != "" {
		s.say("C: RSET")
	}
	s.mail, s.queueID, s.named = mail, r.QueueID, nil
	s.say("C: MAIL FROM:" + mail)
}

// clientName returns the name of the client that the MTA looked up, or "".
func clientName(r records.Record) string {
	if strings.ContainsAny(r.ClientName, "[ ") || r.ClientName == "unknown" {
		return ""
	}
	return r.ClientName
}

// stageOf returns the stage of the decisive reason.
func stageOf(r records.Record) string {
	for _, o := range r.Outcomes {
		if o.Reason == r.Reason {
			return o.Stage
		}
	}
	return ""
}

// addRcpts adds accepted recipients that were not named before in the transaction.
func (s *sessionWriter) addRcpts(rcpts []string) {
	for _, rcpt := range rcpts {
		if !slices.Contains(s.named, rcpt) {
			s.named = append(s.named, rcpt)
			s.say("C: RCPT TO:<" + s.replaced(rcpt) + ">")
			s.say("S: 250")
		}
	}
}

// expect adds the codes of a reply. Its text is left out, as its values may change, such as the seconds of greylisting.
func (s *sessionWriter) expect(r records.Record) {
	words := strings.Fields(r.Reply)
	if len(words) == 0 {
		return
	}
	s.say("# " + r.Reason)
	s.say("S: " + strings.Join(words[:min(2, len(words))], " "))
}

// replaced returns a recipient with another local part. Postmaster and abuse (RFC 2142) stay, as rules may name them.
func (s *sessionWriter) replaced(rcpt string) string {
	a := checks.ParseAddress(rcpt)
	switch {
	case strings.EqualFold(a.Local, "postmaster"), strings.EqualFold(a.Local, "abuse"):
		return rcpt
	case s.rcpts[rcpt] == "":
		s.rcpts[rcpt] = fmt.Sprintf("user%d", len(s.rcpts)+1)
		if at := strings.LastIndex(rcpt, "@"); at >= 0 {
			s.rcpts[rcpt] += rcpt[at:]
		}
	}
	return s.rcpts[rcpt]
}
