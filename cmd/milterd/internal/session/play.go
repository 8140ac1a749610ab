package session

import (
	"fmt"
	"strings"
	"time"

	"milterd/headers"
)

// Player passes on to the checks what an MTA would. A nil reply lets the command pass; otherwise it has the lines of
// the refusal.
type Player interface {
	Connect(Client) error // ends the connection before it
	Time(time.Time)
	Helo(name string, tls bool) error
	Mail(path, user string) (reply []string, err error)
	Rcpt(path string) (reply []string, err error)
	Message(header []headers.Field) (reply []string, err error) // the end of the header, then that of the message
	Reset() error
	Close() error
}

// Mismatch is a reply that was not the expected one.
type Mismatch struct {
	Name      string
	Line      int
	Want, Got string
}

// Error implements error.
func (m *Mismatch) Error() string {
	return fmt.Sprintf("%s:%d: want the reply %q, got %q", m.Name, m.Line, m.Want, m.Got)
}

// Play plays a script. It calls show, if not nil, with every line said and every reply, and returns the replies that
// were not as expected. The error ends the dialogue.
func Play(s *Script, p Player, show func(said string, reply []string)) (wrong []*Mismatch, err error) {
	d := &session{player: p, show: show}
	if d.show == nil {
		d.show = func(string, []string) {}
	}
	for _, step := range s.Steps {
		reply, err := d.step(step)
		if err != nil {
			if step.Line > 0 {
				err = fmt.Errorf("%s:%d: %w", s.Name, step.Line, err)
			}
			return wrong, err
		}
		wrong = append(wrong, compare(s.Name, step, reply)...)
	}
	return wrong, p.Close()
}

// Conversation is a dialogue that comes line by line, as somebody types it.
type Conversation struct{ session }

// Converse begins one: with a client that has connected.
func Converse(p Player, c Client) (*Conversation, error) {
	talk := &Conversation{session{player: p, show: func(string, []string) {}}}
	_, err := talk.step(Step{Client: c})
	return talk, err
}

// Say takes a line: SMTP, or, outside a message, a line "client ..." or "time ..." of a session file. It returns the reply; lines
// of a message, and what is no SMTP, get none.
func (c *Conversation) Say(line string) (reply []string, err error) {
	step := Step{Say: line, Said: true}
	if word, _, _ := strings.Cut(line, " "); !c.data && (word == "client" || word == "time") {
		s := Script{}
		if err := s.parseLine(0, line); err != nil {
			return nil, err
		}
		step = s.Steps[0]
	}
	reply, err = c.step(step)
	c.refused = false // who reads the reply to DATA does not go on as if it were another
	return reply, err
}

// InMessage tells whether lines of a message are expected.
func (c *Conversation) InMessage() bool { return c.data }

// Ended tells whether the client has said QUIT.
func (c *Conversation) Ended() bool { return !c.connected }

func compare(name string, step Step, reply []string) []*Mismatch {
	var wrong []*Mismatch
	for i, want := range step.Expect {
		got := ""
		if i < len(reply) {
			got = reply[i]
		}
		if !strings.HasPrefix(got, want) {
			wrong = append(wrong, &Mismatch{name, step.Line + i + 1, want, got})
		}
	}
	return wrong
}

// session is the MTA's part of one dialogue.
type session struct {
	player    Player
	show      func(string, []string)
	connected bool
	tls       bool // STARTTLS came, the next HELO is the first one in TLS
	user      string
	mail      bool     // a transaction is open
	accepted  int      // recipients of it
	data      bool     // lines of the message follow
	refused   bool     // they follow though DATA was refused: nobody takes them
	header    []string // lines of the message up to the first empty one
	octets    int      // of them
	body      bool     // that one has come
}

// maxHeader is how much of a message is kept, in octets, should its header section have no end.
const maxHeader = 8 << 20

func (d *session) step(st Step) (reply []string, err error) {
	switch {
	case !st.Time.IsZero():
		d.player.Time(st.Time)
		return nil, nil
	case !st.Said:
		*d = session{player: d.player, show: d.show, connected: true}
		return nil, d.player.Connect(st.Client)
	case !d.connected:
		return nil, fmt.Errorf("%q is said before a line \"client ADDRESS\"", st.Say)
	case d.refused && st.Say != ".":
		return nil, nil
	case d.refused:
		d.refused = false
		return nil, nil
	case d.data && st.Say != ".":
		d.show(st.Say, nil)
		d.keep(strings.TrimPrefix(st.Say, "."))
		return nil, nil
	case d.data:
		reply, err = d.endOfData()
	default:
		reply, err = d.command(st.Say)
	}
	d.show(st.Say, reply)
	return reply, err
}

// keep keeps a line of a message, if it can be one of the header section.
func (d *session) keep(line string) {
	d.octets += len(line)
	d.body = d.body || line == "" || d.octets > maxHeader
	if !d.body {
		d.header = append(d.header, line)
	}
}

func (d *session) command(line string) ([]string, error) {
	verb, arg, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "HELO", "EHLO":
		name := strings.TrimSpace(arg)
		if name == "" {
			return []string{"501 5.5.4 want " + strings.ToUpper(verb) + " and a name"}, nil
		}
		var err error
		if d.mail {
			err = d.player.Reset()
		}
		if err == nil {
			err = d.player.Helo(name, d.tls)
		}
		d.tls, d.mail, d.accepted = false, false, 0
		return []string{"250 ok"}, err
	case "STARTTLS":
		var err error
		if d.mail {
			err = d.player.Reset()
		}
		d.tls, d.mail, d.accepted = true, false, 0
		return []string{"220 2.0.0 go ahead"}, err
	case "AUTH":
		words := strings.Fields(arg)
		if len(words) == 0 {
			return []string{"501 5.5.4 AUTH of whom?"}, nil
		}
		d.user = words[len(words)-1]
		return []string{"235 2.7.0 ok"}, nil
	case "MAIL":
		return d.mailFrom(arg)
	case "RCPT":
		return d.rcptTo(arg)
	case "DATA":
		if d.accepted == 0 {
			d.refused = true
			return []string{"503 5.5.1 no recipient"}, nil
		}
		d.data, d.header, d.octets, d.body = true, nil, 0, false
		return []string{"354 go on, end with a dot"}, nil
	case "RSET":
		d.mail, d.accepted = false, 0
		return []string{"250 2.0.0 ok"}, d.player.Reset()
	case "NOOP":
		return []string{"250 2.0.0 ok"}, nil
	case "QUIT":
		d.connected = false
		return []string{"221 2.0.0 bye"}, nil
	default:
		return []string{"500 5.5.2 unknown command"}, nil
	}
}

// path is the argument of FROM: or TO:, without ESMTP parameters. It is false for what an MTA refuses before it asks anybody.
func path(arg, word string) (string, bool) {
	if len(arg) < len(word) || !strings.EqualFold(arg[:len(word)], word) {
		return "", false
	}
	arg = strings.TrimSpace(arg[len(word):])
	if !strings.HasPrefix(arg, "<") {
		return arg, arg != ""
	}
	i := strings.LastIndexByte(arg, '>')
	return arg[:i+1], i > 0
}

func (d *session) mailFrom(arg string) ([]string, error) {
	from, ok := path(arg, "FROM:")
	switch {
	case !ok:
		return []string{"501 5.5.4 want MAIL FROM:<address>"}, nil
	case d.mail:
		return []string{"503 5.5.1 nested MAIL"}, nil
	}
	reply, err := d.player.Mail(from, d.user)
	if reply == nil {
		d.mail, d.accepted = true, 0
		reply = []string{"250 2.1.0 ok"}
	}
	return reply, err
}

func (d *session) rcptTo(arg string) ([]string, error) {
	to, ok := path(arg, "TO:")
	switch {
	case !ok, to == "<>":
		return []string{"501 5.5.4 want RCPT TO:<address>"}, nil
	case !d.mail:
		return []string{"503 5.5.1 MAIL first"}, nil
	}
	reply, err := d.player.Rcpt(to)
	if reply == nil {
		d.accepted++
		reply = []string{"250 2.1.5 ok"}
	}
	return reply, err
}

func (d *session) endOfData() ([]string, error) {
	d.data, d.mail, d.accepted = false, false, 0
	reply, err := d.player.Message(Header(strings.Join(d.header, "\n")))
	if reply == nil {
		reply = []string{"250 2.0.0 accepted"}
	}
	return reply, err
}

// Header takes the header section of a message apart as an MTA does for its filters: names as they stand there, values
// with everything after the colon, lines ending in LF. A line without a colon ends the section.
func Header(message string) []headers.Field {
	var fields []headers.Field
	message = strings.ReplaceAll(message, "\r\n", "\n")
	for line := range strings.SplitSeq(message, "\n") {
		if line == "" {
			break
		}
		if n := len(fields); n > 0 && (line[0] == ' ' || line[0] == '\t') {
			fields[n-1].Value += "\n" + line
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			break
		}
		fields = append(fields, headers.Field{Name: name, Value: value})
	}
	return fields
}
