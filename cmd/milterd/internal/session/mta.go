package session

import (
	"fmt"
	"strings"

	"milterd/headers"
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
	dataRefused bool     // DATA was refused; the lines of the message, which a session file still has, are ignored
	header      []string // lines of the header section
	inBody      bool     // the header section has ended
}

func (m *mta) step(st Step) (reply []string, err error) {
	switch {
	case !st.Time.IsZero():
		m.player.Time(st.Time)
		return nil, nil
	case !st.Said:
		*m = mta{player: m.player, show: m.show, connected: true}
		return nil, m.player.Connect(st.Client)
	case !m.connected:
		return nil, fmt.Errorf("%q: want a line \"client ADDRESS\" before", st.Say)
	case m.dataRefused:
		m.dataRefused = st.Say != "."
		return nil, nil
	case m.inData && st.Say != ".":
		m.show(st.Say, nil)
		m.addLine(strings.TrimPrefix(st.Say, "."))
		return nil, nil
	case m.inData:
		reply, err = m.endOfData()
	default:
		reply, err = m.command(st.Say)
	}
	m.show(st.Say, reply)
	return reply, err
}

// addLine adds a line of a message, if it belongs to the header section.
func (m *mta) addLine(line string) {
	m.inBody = m.inBody || line == ""
	if !m.inBody {
		m.header = append(m.header, line)
	}
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
		m.inData, m.header, m.inBody = true, nil, false
		return []string{"354 end the message with a single dot"}, nil
	case "RSET":
		m.inMail, m.rcpts = false, 0
		return []string{"250 2.0.0 ok"}, m.player.Reset()
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

// resetMail ends a mail transaction.
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
	i := strings.LastIndexByte(arg, '>')
	return arg[:i+1], i > 0
}

func (m *mta) endOfData() ([]string, error) {
	m.inData, m.inMail, m.rcpts = false, false, 0
	reply, err := m.player.Message(Header(strings.Join(m.header, "\n")))
	if reply == nil {
		reply = []string{"250 2.0.0 accepted"}
	}
	return reply, err
}

// Header splits the header section of a message into fields, as an MTA does for its filters: a value is
// everything after the colon, with LF as line end. A line without a colon ends the section.
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
