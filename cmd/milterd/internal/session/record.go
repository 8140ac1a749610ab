package session

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter/records"
)

// FromRecords returns a session file that makes the decisions of one session again: the commands, the DNS answers and the codes
// of the replies. The local parts of recipients are replaced. left is the reasons of decisions about the message, which the file
// does not show: no record keeps the message. A decision that rests on earlier mail may have another reply when the file is
// played. The records are those of one session, with their traces.
func FromRecords(list []records.Record) (text []byte, left []string, err error) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b records.Record) int { return a.Time.Compare(b.Time) })
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
	return fmt.Appendf(nil, "%s\n\n-- zone --\n%s-- smtp --\n%s", title, z.text(), s.lines.String()), s.left, nil
}

// zoneWriter makes zone text from the DNS questions of records and their answers, see checks.Asked.Said.
type zoneWriter struct {
	lines   []string
	seen    map[string]bool
	existed []string // names without the record that was asked for
}

// add adds an answer, if it is new.
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
	for _, data := range splitAnswer(a.Answer) {
		switch target, alias := strings.CutPrefix(data, "CNAME "); {
		case data == "no such name":
			return
		case data == "no such record" || strings.HasSuffix(data, " more records"):
		case alias && rrType != "CNAME":
			z.line(name + " CNAME " + target)
			name = target
		default:
			found = true
			z.line(name + " " + rrType + " " + data)
		}
	}
	if !found {
		z.existed = append(z.existed, name)
	}
}

// line adds a line of zone text. One that is not one record, as the trace had only a part of it, becomes a comment.
func (z *zoneWriter) line(text string) {
	if slices.Contains(z.lines, text) {
		return
	}
	directive := strings.HasPrefix(text, "$") // $INCLUDE, $GENERATE
	if _, err := checktest.ParseZone(text); err != nil || directive || strings.ContainsFunc(text, isControl) {
		text = "; incomplete: " + checks.Clean(text, maxComment)
	}
	z.lines = append(z.lines, text)
}

// maxComment is the length of an incomplete record in a comment, in bytes.
const maxComment = 200

// text returns the zone. A name that exists without the record that was asked for has an HINFO record, which no check
// asks for.
func (z *zoneWriter) text() string {
	for _, name := range z.existed {
		has := func(line string) bool { return strings.HasPrefix(line, name+" ") }
		if !slices.ContainsFunc(z.lines, has) {
			z.line(name + ` HINFO "" ""`)
		}
	}
	return strings.Join(z.lines, "\n") + "\n"
}

// splitAnswer splits the text of an answer at the commas between its records, which are not in quotes.
func splitAnswer(text string) []string {
	var list []string
	begin, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case !quoted && strings.HasPrefix(text[i:], ", "):
			list = append(list, text[begin:i])
			begin = i + len(", ")
		}
	}
	return append(list, text[begin:])
}

// sessionWriter makes the SMTP session of records.
type sessionWriter struct {
	lines strings.Builder
	helo  string
	mail  string            // the reverse-path, in brackets; empty before MAIL
	begun bool              // the client is connected
	rcpts map[string]string // replacements of recipients
	named []string          // recipients of the transaction
	left  []string
	err   error
}

// say adds a line. A line with a control character would become two, or none that can be read.
func (s *sessionWriter) say(line string) {
	if s.err == nil && strings.ContainsFunc(line, isControl) {
		s.err = fmt.Errorf("%q has a control character, which a session file cannot have", line)
	}
	s.lines.WriteString(line + "\n")
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// add adds a decision.
func (s *sessionWriter) add(r records.Record) {
	s.begin(r)
	stage := stageOf(r)
	switch {
	case stage == checks.EndOfHeader.String(), stage == checks.EndOfMessage.String():
		s.left = append(s.left, r.Reason)
		s.addRcpts(r.Rcpts, "250")
	case len(r.Rcpts) == 0:
		s.expect(r)
	case r.Reply == "":
		s.addRcpts(r.Rcpts, "250")
	default:
		s.say("C: RCPT TO:<" + s.replaced(r.Rcpts[0]) + ">")
		s.expect(r)
	}
}

// begin adds the commands up to the recipients, as far as they differ from those of the last decision.
func (s *sessionWriter) begin(r records.Record) {
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
	mail := "<" + r.MailFrom + ">"
	if mail == s.mail || len(r.Rcpts) == 0 && r.MailFrom == "" {
		return
	}
	if s.mail != "" {
		s.say("C: RSET")
	}
	s.mail, s.named = mail, nil
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

// addRcpts adds recipients that were not named before in the transaction.
func (s *sessionWriter) addRcpts(rcpts []string, code string) {
	for _, rcpt := range rcpts {
		if !slices.Contains(s.named, rcpt) {
			s.named = append(s.named, rcpt)
			s.say("C: RCPT TO:<" + s.replaced(rcpt) + ">")
			s.say("S: " + code)
		}
	}
}

// expect adds the codes of a reply. Its text may have values that change, such as the seconds of greylisting.
func (s *sessionWriter) expect(r records.Record) {
	words := strings.Fields(r.Reply)
	if len(words) == 0 {
		return
	}
	s.say("# " + r.Reason)
	s.say("S: " + strings.Join(words[:min(2, len(words))], " "))
}

// replaced returns a recipient with another local part. The names of RFC 2142 for operators stay, as rules may name them.
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
