package session

import (
	"fmt"
	"strings"
	"time"

	"milterd/headers"
)

// Player passes the commands of a session on to the checks. A reply has the lines of a refusal; it is nil if the checks
// accept the command.
type Player interface {
	Connect(Client) error // ends the previous connection
	Time(time.Time)       // sets the clock
	Helo(name string, tls bool) error
	Mail(path, user string) (reply []string, err error)
	Rcpt(path string) (reply []string, err error)
	Message(header []headers.Field, body string) (reply []string, err error) // the lines of the body end in CRLF
	Reset() error
	Close() error
}

// Mismatch is a reply that was not the expected one.
type Mismatch struct {
	Name string `json:"-"`    // of the session file
	Line int    `json:"line"` // of the expected reply
	Want string `json:"want"`
	Got  string `json:"got"`
}

// Error implements error.
func (m *Mismatch) Error() string {
	return fmt.Sprintf("%s:%d: want the reply %q, got %q", m.Name, m.Line, m.Want, m.Got)
}

// Play plays a script. It calls show, if not nil, with each line of the client and its reply. It returns the replies
// that were not the expected ones. An error of the player ends the session.
func Play(s *Script, p Player, show func(said string, reply []string)) (wrong []*Mismatch, err error) {
	m := &mta{player: p, show: show, keys: s.keys}
	if m.show == nil {
		m.show = func(string, []string) {}
	}
	for _, step := range s.Steps {
		reply, err := m.step(step)
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

// compare compares a reply with the expected one, line by line.
func compare(name string, step Step, reply []string) []*Mismatch {
	var wrong []*Mismatch
	for i, want := range step.Expect {
		got := ""
		if i < len(reply) {
			got = reply[i]
		}
		if !startsWith(got, want) {
			wrong = append(wrong, &Mismatch{Name: name, Line: step.Line + i + 1, Want: want, Got: got})
		}
	}
	return wrong
}

// startsWith reports whether a line of a reply starts with a text. A line that others follow has a hyphen after the code
// (RFC 5321 section 4.2.1); a text with a space there matches it too.
func startsWith(line, text string) bool {
	const code = len("250")
	if len(line) > code && line[code] == '-' && len(text) > code && text[code] == ' ' {
		line = line[:code] + " " + line[code+1:]
	}
	return strings.HasPrefix(line, text)
}

// Conversation is a session whose lines come one by one, as a user types them.
type Conversation struct{ mta }

// Converse starts a conversation with a client that has connected.
func Converse(p Player, c Client) (*Conversation, error) {
	talk := &Conversation{mta: mta{player: p, show: func(string, []string) {}}}
	_, err := talk.step(Step{Client: c})
	return talk, err
}

// Say plays a line of SMTP or, outside of a message, a line "client ..." or "time ..." of a session file. It
// returns the reply, which is nil for a line of a message and for a line that is not SMTP.
func (c *Conversation) Say(line string) (reply []string, err error) {
	step := Step{Say: line, Said: true}
	if word, _, _ := strings.Cut(line, " "); !c.inData && (word == "client" || word == "time") {
		s := Script{}
		if err := s.parseLine(0, line); err != nil {
			return nil, err
		}
		step = s.Steps[0]
	}
	reply, err = c.step(step)
	c.dataRefused = false // a user sees the reply, and sends no message
	return reply, err
}

// InMessage reports whether lines of a message are expected.
func (c *Conversation) InMessage() bool { return c.inData }

// Ended reports whether the client sent QUIT.
func (c *Conversation) Ended() bool { return !c.connected }
