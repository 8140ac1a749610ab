// Package session plays SMTP sessions against the checks: in this process (InProcess), or over the
// milter protocol through a running daemon. The sessions come from session files, or line by line from a
// user.
//
// A session file is a text archive of package golang.org/x/tools/txtar: a comment that says what the file
// shows, and the files
//
//	config          configuration (YAML), optional
//	zone            DNS of the session, see checktest.Zone; optional
//	key NAME        private key (PEM) of the DKIM key record NAME, SELECTOR._domainkey.DOMAIN; optional, several are possible
//	smtp            the SMTP session
//
// The zone has the record of each key, unless it has other records of the name.
//
// A session has lines of these kinds:
//
//	client 192.0.2.9 mail.example.net   a client connects; the name is the one that the MTA looked up
//	time 2026-11-21T12:00:00Z           sets the clock
//	C: RCPT TO:<user@example.org>       the client sends a line of SMTP, RFC 5321
//	S: 550 5.7.25 192.0.2.9 has no      the reply must start with this; optional
//	# comment
//
// After DATA the C: lines are the message, up to a single dot. The last word of AUTH is the user's name;
// every user is authenticated. In a file with a key, these lines of a message are special:
//
//	C: @dkim d=example.net s=sel h=from:subject   a DKIM-Signature field of the message, see keys.sign
//	C: @before Subject: hello                     a line that the message had when it was signed
//	C: @after Subject: [list] hello               a line that was added after the message was signed
//
// The command simulate uses the package, and replay splits header sections by Split. Start reading at Play.
package session

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/tools/txtar"

	"milterd/checks"
)

// Script is a session file.
type Script struct {
	Name  string
	Title string // the comment at the top
	Steps []Step

	// Config and Zone are empty if the file has none. They start with as many empty lines as there are lines
	// before them in the file, so that their errors have its line numbers.
	Config []byte
	Zone   string

	keys keys // nil if the file has none
}

// Step is a line of a session with the expected reply: the clock is set to Time if it is not zero, else the client sends Say if Said is
// set, else Client connects.
type Step struct {
	Line   int // in the file; 0 if it comes from no file
	Client Client
	Time   time.Time
	Said   bool     // the client sends Say, which may be empty
	Say    string   // command or, after DATA, line of the message
	Rest   string   // with the Say ".": the end of the message, after the lines of earlier steps; it is not shown
	Expect []string // the lines of the reply begin with these
}

// Client is the client that connects.
type Client struct {
	Addr netip.Addr // zero for a submission on the mail host
	Name string     // as the MTA looked it up; empty if there is none
}

// Read reads a session file.
func Read(path string) (*Script, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, checks.WithoutCall(err)
	}
	return Parse(path, text)
}

// Parse parses the text of a session file. Its errors start with the name and a line number.
func Parse(name string, text []byte) (*Script, error) {
	archive := txtar.Parse(text)
	s := &Script{Name: name, Title: strings.TrimSpace(string(archive.Comment))}
	seen := map[string]bool{}
	for _, f := range archive.Files {
		line := partLine(text, f.Name)
		var err error
		switch kind, keyName, _ := strings.Cut(f.Name, " "); {
		case seen[f.Name]:
			err = fmt.Errorf("%s:%d: the file has the part %q twice", name, line, f.Name)
		case f.Name == "config":
			s.Config = []byte(inPlace(text, f))
		case f.Name == "zone":
			s.Zone = inPlace(text, f)
		case f.Name == "smtp":
			err = s.parse(string(f.Data), line)
		case kind == "key":
			err = s.addKey(line, strings.TrimSpace(keyName), f.Data)
		default:
			err = fmt.Errorf("%s:%d: unknown part %q; want config, zone, key or smtp", name, line, f.Name)
		}
		if err != nil {
			return nil, err
		}
		seen[f.Name] = true
	}
	if !seen["smtp"] {
		return nil, fmt.Errorf("%s: no part \"smtp\": want a line \"-- smtp --\" with the session after it", name)
	}
	s.addKeyRecords()
	return s, nil
}

// inPlace returns a part of the file after as many empty lines as there are lines before it.
func inPlace(text []byte, part txtar.File) string {
	return strings.Repeat("\n", partLine(text, part.Name)) + string(part.Data)
}

// partLine returns the number of the line "-- NAME --" that begins a part.
func partLine(text []byte, name string) int {
	for i, line := range strings.Split(string(text), "\n") {
		line, begins := strings.CutPrefix(strings.TrimSuffix(line, "\r"), "-- ")
		line, ends := strings.CutSuffix(line, " --")
		if begins && ends && strings.TrimSpace(line) == name {
			return i + 1
		}
	}
	return 1
}

// parse parses the session. before is the number of lines before it in the file.
func (s *Script) parse(text string, before int) error {
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		n := before + 1 + i
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := s.parseLine(n, line); err != nil {
			return fmt.Errorf("%s:%d: %w", s.Name, n, err)
		}
	}
	return nil
}

func (s *Script) parseLine(n int, line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "C:":
		s.Steps = append(s.Steps, Step{Line: n, Say: rest, Said: true})
	case "S:":
		if len(s.Steps) == 0 {
			return fmt.Errorf("a reply before the first line of the client")
		}
		last := &s.Steps[len(s.Steps)-1]
		last.Expect = append(last.Expect, strings.TrimSpace(rest))
	case "time":
		t, err := parseTime(rest)
		if err != nil {
			return err
		}
		s.Steps = append(s.Steps, Step{Line: n, Time: t})
	case "client":
		c, err := parseClient(rest)
		if err != nil {
			return err
		}
		s.Steps = append(s.Steps, Step{Line: n, Client: c})
	default:
		return fmt.Errorf("%q: want a line that starts with C: S: client time or #", line)
	}
	return nil
}

func parseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(text))
	if err != nil {
		return t, fmt.Errorf("time %q: want a time such as 2026-11-21T12:00:00Z", text)
	}
	if t.IsZero() {
		return t, fmt.Errorf("time %q: want a time after the year 1", text) // the zero time means none
	}
	return t, nil
}

func parseClient(text string) (Client, error) {
	words := strings.Fields(text)
	if len(words) < 1 || len(words) > 2 {
		return Client{}, fmt.Errorf("client %q: want an address, and optionally the name that the MTA looked up", text)
	}
	if words[0] == "local" {
		return Client{}, nil
	}
	addr, err := netip.ParseAddr(words[0])
	if err != nil {
		return Client{}, fmt.Errorf("client %q: not an address", words[0])
	}
	c := Client{Addr: addr.Unmap()}
	if len(words) == 2 {
		c.Name = words[1]
	}
	return c, nil
}
