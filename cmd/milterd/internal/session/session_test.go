package session

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"milterd/headers"
)

// stub is a Player that keeps its calls and refuses what contains "bad".
type stub struct{ calls []string }

func (s *stub) call(what string) ([]string, error) {
	s.calls = append(s.calls, what)
	if strings.Contains(what, "bad") {
		return []string{"550-5.7.1 no", "550 5.7.1 way"}, nil
	}
	return nil, nil
}

func (s *stub) Connect(c Client) error {
	_, err := s.call("connect " + c.Addr.String() + " " + c.Name)
	return err
}
func (s *stub) Time(t time.Time) { _, _ = s.call("time " + t.Format(time.RFC3339)) }
func (s *stub) Helo(name string, tls bool) error {
	if tls {
		name += " in TLS"
	}
	_, err := s.call("helo " + name)
	return err
}
func (s *stub) Mail(path, user string) ([]string, error) { return s.call("mail " + path + " " + user) }
func (s *stub) Rcpt(path string) ([]string, error)       { return s.call("rcpt " + path) }
func (s *stub) Message(header []headers.Field, body string) ([]string, error) {
	text := "message"
	for _, f := range header {
		text += " [" + f.Name + ":" + f.Value + "]"
	}
	if body != "" {
		text += " " + strconv.Quote(body)
	}
	return s.call(text)
}
func (s *stub) Reset() error { _, err := s.call("reset"); return err }
func (s *stub) Close() error { _, err := s.call("close"); return err }

const wholeSession = `What it shows,
on two lines.

-- config --
profile: strict
-- zone --
example.org. A 192.0.2.1
-- smtp --
time 2026-11-21T12:00:00Z
client 192.0.2.9 mail.example.net
C: EHLO mail.example.net
S: 250
C: STARTTLS
C: ehlo mail.example.net
C: AUTH PLAIN bob
# a comment
C: RCPT TO:<early@example.org>
S: 503
C: MAIL FROM:<a@example.net> SIZE=1000
S: 250
C: MAIL FROM:<a@example.net>
S: 503
C: RCPT TO:<bad@example.org>
S: 550-5.7.1 no
S: 550 5.7.1 way
C: DATA
S: 503
C: a client that sends the message nevertheless
C: .
C: RCPT TO: <good@example.org>
C: DATA
S: 354
C: Subject: a
C:  b
C: X: ..
C:
C: ..not a header
C: .
S: 250 2.0.0
C: HOW
S: 500
C: MAIL FROM:<>
C: RSET
C: QUIT
S: 221
client local
C: HELO x
C: MAIL FROM:<x@example.net>
C: RCPT TO:<y@example.org>
C: EHLO y
C: DATA
S: 503
`

func TestPlay(t *testing.T) {
	t.Parallel()
	s, err := Parse("x.session", []byte(wholeSession))
	if err != nil {
		t.Fatal(err)
	}
	if s.Title != "What it shows,\non two lines." || string(s.Config) != "\n\n\n\nprofile: strict\n" || s.Zone != "\n\n\n\n\n\nexample.org. A 192.0.2.1\n" {
		t.Errorf("got %+v", s)
	}
	var p stub
	wrong, err := Play(s, &p, nil)
	if err != nil || len(wrong) != 0 {
		t.Errorf("got %v, %v", wrong, err)
	}
	want := []string{
		"time 2026-11-21T12:00:00Z", "connect 192.0.2.9 mail.example.net", "helo mail.example.net", "helo mail.example.net in TLS",
		"mail <a@example.net> bob", "rcpt <bad@example.org>", "rcpt <good@example.org>", "message [Subject: a\n b] [X: ..] \".not a header\\r\\n\"",
		"mail <> bob", "reset", "connect invalid IP ", "helo x",
		"mail <x@example.net> ", "rcpt <y@example.org>", "reset", "helo y", "close",
	}
	if !slices.Equal(p.calls, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(p.calls, "\n"), strings.Join(want, "\n"))
	}
}

func TestMismatchNamesTheLine(t *testing.T) {
	t.Parallel()
	s, err := Parse("x.session", []byte("-- smtp --\nclient 192.0.2.9\nC: EHLO x\nS: 250\nS: 250 more\nC: NOOP\nS: 550\n"))
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := Play(s, &stub{}, nil)
	if err != nil || len(wrong) != 2 {
		t.Fatalf("got %v, %v", wrong, err)
	}
	if got, want := wrong[0].Error(), `x.session:5: want the reply "250 more", got ""`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := wrong[1].Error(), `x.session:7: want the reply "550", got "250 2.0.0 ok"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBadSessionFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"no session", "hello\n", `x: no part "smtp"`},
		{"unknown part", "-- zones --\n-- smtp --\n", `x:1: unknown part "zones"`},
		{"unknown line", "-- smtp --\nQUIT\n", `x:2: "QUIT": want a line that starts with`},
		{"reply first", "title\n\n-- smtp --\nS: 250\n", "x:4: a reply before"},
		{"bad address", "-- smtp --\nclient 192.0.2\n", `x:2: client "192.0.2": not an address`},
		{"two zones", "-- zone --\n-- smtp --\n-- zone --\n", `x:1: the file has the part "zone" twice`},
		{"the title mentions a part", "about the part -- smtp --\n\n-- smtp --\nQUIT\n", `x:4: "QUIT"`},
		{"no address", "-- smtp --\nclient\n", `x:2: client "": want an address`},
		{"bad time", "-- smtp --\ntime noon\n", `x:2: time "noon"`},
		{"no time", "-- smtp --\nclient 192.0.2.9\ntime 0001-01-01T00:00:00Z\n", `x:3: time "0001-01-01T00:00:00Z": want a time after the year 1`},
		{"no time, of another zone", "-- smtp --\ntime 0001-01-01T01:00:00+01:00\n", `x:2: time "0001-01-01T01:00:00+01:00": want a time after the year 1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("x", []byte(c.text))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestCommandBeforeClient(t *testing.T) {
	t.Parallel()
	s, err := Parse("x", []byte("-- smtp --\nC: EHLO x\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Play(s, &stub{}, nil); err == nil || !strings.HasPrefix(err.Error(), "x:2: ") {
		t.Errorf("got %v", err)
	}
}

func TestConversation(t *testing.T) {
	t.Parallel()
	var p stub
	talk, err := Converse(&p, Client{Addr: netip.MustParseAddr("192.0.2.9"), Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ say, reply, fault string }{
		{"EHLO a", "250 ok", ""},
		{"client 192.0.2", "", "not an address"},
		{"time 2026-11-21T12:00:00Z", "", ""},
		{"client 192.0.2.10", "", ""},
		{"EHLO b", "250 ok", ""},
		{"MAIL FROM:<x@example.net>", "250 2.1.0 ok", ""},
		{"RCPT TO:<bad@example.org>", "550-5.7.1 no", ""},
		{"RCPT TO:<y@example.org>", "250 2.1.5 ok", ""},
		{"DATA", "354 end the message with a single dot", ""},
		{"client 192.0.2.11", "", ""},
		{"A: b", "", ""},
		{".", "250 2.0.0 accepted", ""},
		{"QUIT", "221 2.0.0 bye", ""},
		{"NOOP", "", "want a line"},
	} {
		if talk.Ended() != (c.say == "NOOP") || talk.InMessage() != (c.say == "client 192.0.2.11" || c.say == "A: b" || c.say == ".") {
			t.Errorf("before %q: ended %v, in a message %v", c.say, talk.Ended(), talk.InMessage())
		}
		reply, err := talk.Say(c.say)
		if (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q: got %v", c.say, err)
		}
		if c.reply == "" && reply != nil || c.reply != "" && (len(reply) == 0 || reply[0] != c.reply) {
			t.Errorf("%q: got the reply %q", c.say, reply)
		}
	}
	want := []string{
		"connect 192.0.2.9 a", "helo a", "time 2026-11-21T12:00:00Z", "connect 192.0.2.10 ", "helo b", "mail <x@example.net> ",
		"rcpt <bad@example.org>", "rcpt <y@example.org>", `message "client 192.0.2.11\r\nA: b\r\n"`,
	}
	if !slices.Equal(p.calls, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(p.calls, "\n"), strings.Join(want, "\n"))
	}
}

// TestReplies tests what the MTA refuses by itself, and what it passes on.
func TestReplies(t *testing.T) {
	t.Parallel()
	start := []string{"EHLO a", "MAIL FROM:<x@example.net>", "RCPT TO:<y@example.org>"}
	started := []string{"connect 192.0.2.9 ", "helo a", "mail <x@example.net> ", "rcpt <y@example.org>"}
	for _, c := range []struct {
		name  string
		say   []string
		reply string   // to the last line
		calls []string // of the player
	}{
		{"HELO without a name", []string{"HELO "}, "501 5.5.4 want HELO and a name", nil},
		{"EHLO without a name in a transaction", slices.Concat(start, []string{"EHLO"}), "501 5.5.4 want EHLO and a name", started},
		{"MAIL without an address", []string{"MAIL FROM:"}, "501 5.5.4 want MAIL FROM:<address>", nil},
		{"an address without an end", []string{"MAIL FROM:<a@exa"}, "501 5.5.4 want MAIL FROM:<address>", nil},
		{"an address of one bracket", []string{"MAIL FROM:<"}, "501 5.5.4 want MAIL FROM:<address>", nil},
		{"RCPT without an address", slices.Concat(start, []string{"RCPT TO:"}), "501 5.5.4 want RCPT TO:<address>", started},
		{"a null recipient", slices.Concat(start, []string{"RCPT TO:<>"}), "501 5.5.4 want RCPT TO:<address>", started},
		{"an escaped quote in a quoted string", []string{`MAIL FROM:<"a\">b"@example.net> SIZE=1`}, "250 2.1.0 ok", []string{"connect 192.0.2.9 ", `mail <"a\">b"@example.net> `}},
		{"an escaped backslash in a quoted string", []string{`MAIL FROM:<"a\\"@example.net>`}, "250 2.1.0 ok", []string{"connect 192.0.2.9 ", `mail <"a\\"@example.net> `}},
		{"STARTTLS in a transaction ends it", slices.Concat(start, []string{"STARTTLS", "DATA"}), "503 5.5.1 no recipient", slices.Concat(started, []string{"reset"})},
		{"a body", slices.Concat(start, []string{"DATA", "A: b", "", "C: d", "", "E: f", "."}), "250 2.0.0 accepted",
			slices.Concat(started, []string{`message [A: b] "C: d\r\n\r\nE: f\r\n"`})},
		{"a line without a colon begins the body", slices.Concat(start, []string{"DATA", "A: b", "hello", "C: d", "."}), "250 2.0.0 accepted",
			slices.Concat(started, []string{`message [A: b] "hello\r\nC: d\r\n"`})},
		{"special lines are text in a file without keys", slices.Concat(start, []string{"DATA", "@dkim: b", "", "@before d", "."}), "250 2.0.0 accepted",
			slices.Concat(started, []string{`message [@dkim: b] "@before d\r\n"`})},
		{"RSET after a message ends no transaction", slices.Concat(start, []string{"DATA", "", ".", "RSET"}), "250 2.0.0 ok", slices.Concat(started, []string{"message"})},
		{"two messages", slices.Concat(start, []string{"DATA", "", ".", "MAIL FROM:<>", "RCPT TO:<y@example.org>", "DATA", "A: b", "."}), "250 2.0.0 accepted",
			slices.Concat(started, []string{"message", "mail <> ", "rcpt <y@example.org>", "message [A: b]"})},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var p stub
			talk, err := Converse(&p, Client{Addr: netip.MustParseAddr("192.0.2.9")})
			if err != nil {
				t.Fatal(err)
			}
			var reply []string
			for _, line := range c.say {
				if reply, err = talk.Say(line); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(reply, []string{c.reply}) {
				t.Errorf("got the reply %q", reply)
			}
			if c.calls == nil {
				c.calls = []string{"connect 192.0.2.9 "}
			}
			if !slices.Equal(p.calls, c.calls) {
				t.Errorf("got the calls %q", p.calls)
			}
		})
	}
}

func FuzzSession(f *testing.F) {
	f.Add([]byte(wholeSession))
	f.Add([]byte("-- smtp --\nclient 192.0.2.9\nC: DATA\nC: MAIL FROM:>\nC: RCPT TO:<\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("x", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "x:") {
				t.Errorf("no name in %q", err)
			}
			return
		}
		lines := strings.Count(string(text), "\n") + 1
		for _, st := range s.Steps {
			if st.Line < 1 || st.Line > lines {
				t.Errorf("line %d of %d", st.Line, lines)
			}
		}
		_, _ = Play(s, &stub{}, nil)
	})
}

// TestExpectedReplyOfSeveralLines tests that an expected reply matches a line that others follow.
func TestExpectedReplyOfSeveralLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line, text string
		want       bool
	}{
		{"550 5.7.1 no", "550 5.7.1", true}, {"550-5.7.1 no", "550 5.7.1", true}, {"550-5.7.1 no", "550-5.7.1", true},
		{"550-5.7.1 no", "550", true}, {"550 5.7.1 no", "550-5.7.1", false}, {"550-5.7.1 no", "550 5.7.2", false},
		{"", "550", false}, {"550-", "550 ", true}, {"550", "550 ", false},
	} {
		if got := startsWith(c.line, c.text); got != c.want {
			t.Errorf("%q starts with %q: %v", c.line, c.text, got)
		}
	}
}
