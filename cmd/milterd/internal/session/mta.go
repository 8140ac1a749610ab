package session

import (
	"fmt"
	"strings"
	"time"
)

// mta is the MTA of a session: it replies to the client as an MTA does, and passes to the player what an MTA
// passes to a filter.
type mta struct {
	player    Player
	show      func(said string, reply []string)
	connected bool
	tls       bool // the next HELO is the first one after STARTTLS
	user      string
	inMail    bool // MAIL was accepted
	rcpts     int  // accepted recipients of it

	inData      bool     // lines of a message follow
	dataRefused bool     // DATA was refused; lines of the message that follow nevertheless are ignored, up to the dot
	lines       []string // of the message

	keys keys      // of the session file
	time time.Time // of the session; zero: the current time
}

func (m *mta) step(st Step) (reply []string, err error) {
	switch {
	case !st.Time.IsZero():
		m.time = st.Time
		m.player.Time(st.Time)
		return nil, nil
	case !st.Said:
		*m = mta{player: m.player, show: m.show, keys: m.keys, time: m.time, connected: true}
		return nil, m.player.Connect(st.Client)
	case !m.connected:
		return nil, fmt.Errorf("%q: want a line \"client ADDRESS\" before", st.Say)
	case m.dataRefused:
		m.dataRefused = st.Say != "."
		return nil, nil
	case m.inData && st.Say != ".":
		m.show(st.Say, nil)
		m.lines = append(m.lines, strings.TrimPrefix(st.Say, "."))
		return nil, nil
	case m.inData:
		reply, err = m.endOfData(st.Rest)
	default:
		reply, err = m.command(st.Say)
	}
	m.show(st.Say, reply)
	return reply, err
}

func (m *mta) command(line string) ([]string, error) {
	verb, arg, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	switch verb {
	case "HELO", "EHLO":
		return m.helo(verb, strings.TrimSpace(arg))
	case "STARTTLS":
		err := m.resetMail()
		m.tls = true
		return []string{"220 2.0.0 go ahead"}, err
	case "AUTH":
		words := strings.Fields(arg)
		if len(words) == 0 {
			return []string{"501 5.5.4 want AUTH and a user name"}, nil
		}
		m.user = words[len(words)-1]
		return []string{"235 2.7.0 ok"}, nil
	case "MAIL":
		return m.mailFrom(arg)
	case "RCPT":
		return m.rcptTo(arg)
	case "DATA":
		if m.rcpts == 0 {
			m.dataRefused = true
			return []string{"503 5.5.1 no recipient"}, nil
		}
		m.inData, m.lines = true, nil
		return []string{"354 end the message with a single dot"}, nil
	case "RSET":
		return []string{"250 2.0.0 ok"}, m.resetMail()
	case "NOOP":
		return []string{"250 2.0.0 ok"}, nil
	case "QUIT":
		m.connected = false
		return []string{"221 2.0.0 bye"}, nil
	default:
		return []string{"500 5.5.2 unknown command"}, nil
	}
}

func (m *mta) helo(verb, name string) ([]string, error) {
	if name == "" {
		return []string{"501 5.5.4 want " + verb + " and a name"}, nil
	}
	err := m.resetMail()
	if err == nil {
		err = m.player.Helo(name, m.tls)
	}
	m.tls = false
	return []string{"250 ok"}, err
}

// resetMail ends a mail transaction. A message that was judged has ended its own.
func (m *mta) resetMail() error {
	if !m.inMail {
		return nil
	}
	m.inMail, m.rcpts = false, 0
	return m.player.Reset()
}

func (m *mta) mailFrom(arg string) ([]string, error) {
	from, ok := path(arg, "FROM:")
	switch {
	case !ok:
		return []string{"501 5.5.4 want MAIL FROM:<address>"}, nil
	case m.inMail:
		return []string{"503 5.5.1 nested MAIL"}, nil
	}
	reply, err := m.player.Mail(from, m.user)
	if reply == nil {
		m.inMail, m.rcpts = true, 0
		reply = []string{"250 2.1.0 ok"}
	}
	return reply, err
}

func (m *mta) rcptTo(arg string) ([]string, error) {
	to, ok := path(arg, "TO:")
	switch {
	case !ok, to == "<>":
		return []string{"501 5.5.4 want RCPT TO:<address>"}, nil
	case !m.inMail:
		return []string{"503 5.5.1 MAIL first"}, nil
	}
	reply, err := m.player.Rcpt(to)
	if reply == nil {
		m.rcpts++
		reply = []string{"250 2.1.5 ok"}
	}
	return reply, err
}

// path returns the argument of FROM: or TO: without ESMTP parameters. ok is false if an MTA refuses it by itself.
func path(arg, word string) (path string, ok bool) {
	if len(arg) < len(word) || !strings.EqualFold(arg[:len(word)], word) {
		return "", false
	}
	arg = strings.TrimSpace(arg[len(word):])
	if !strings.HasPrefix(arg, "<") {
		return arg, arg != ""
	}
	quoted := false
	for i := 0; i < len(arg); i++ {
		switch c := arg[i]; {
		case c == '\\' && quoted:
			i++ // the next character is not special
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted: // parameters follow, which may have brackets too: AUTH=<>
			return arg[:i+1], true
		}
	}
	return "", false
}

// endOfData signs a message and passes it on. rest follows its lines.
func (m *mta) endOfData(rest string) ([]string, error) {
	m.inData, m.inMail, m.rcpts = false, false, 0
	text := joinLines(m.lines)
	if m.keys != nil {
		var err error
		if text, err = m.keys.signLines(m.lines, m.time); err != nil {
			return nil, err
		}
	}
	reply, err := m.player.Message(Split(text + rest))
	if reply == nil {
		reply = []string{"250 2.0.0 accepted"}
	}
	return reply, err
}
