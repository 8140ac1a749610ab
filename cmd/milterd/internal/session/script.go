// Package session plays SMTP dialogues against the checks: in this process through a pipeline, or over the milter
// protocol through a running daemon. Dialogues come from session files or are made up from a few values.
//
// A session file is a text archive of package golang.org/x/tools/txtar: a comment that says what it shows, and the files
//
//	config    configuration (YAML), optional
//	zone      the DNS of the session, see checktest.Zone; optional
//	smtp      the dialogue
//
// A dialogue has lines of these kinds:
//
//	client 192.0.2.9 mail.example.net   who connects, with the name that the MTA found; begins a new connection
//	time 2026-11-21T12:00:00Z           the clock, from here on
//	C: RCPT TO:<user@example.org>       what the client says: SMTP, RFC 5321
//	S: 550 5.7.25 192.0.2.9 has no      what the server must answer: a reply that begins so
//	# remark
//
// After DATA the message follows in C: lines up to the one with a single dot. AUTH takes the user's name as its last word
// and believes it. Expected replies may be left out.
package session

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/tools/txtar"
)

// Script is a session file.
type Script struct {
	Name   string
	Title  string // the comment on top
	Config []byte // nil if there is none; after as many empty lines as there are lines before it in the file, for its errors
	Zone   string // empty if there is none; likewise
	Steps  []Step
}

// Step is one line of a dialogue with the replies expected of it.
type Step struct {
	Line   int    // in the file; 0 if it does not come from one
	Client Client // if Say is empty and Time is zero: a new connection
	Time   time.Time
	Say    string // a command or, after DATA, a line of the message
	Said   bool   // Say is meant, even if it is empty
	Expect []string
}

// Client is who connects.
type Client struct {
	Addr netip.Addr // zero: a submission on the mail host itself
	Name string     // as the MTA found it; empty: it found none
}

// Read reads a session file.
func Read(path string) (*Script, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text)
}

// Parse reads the text of a session file. Errors begin with name and line.
func Parse(name string, text []byte) (*Script, error) {
	a := txtar.Parse(text)
	s := &Script{Name: name, Title: strings.TrimSpace(string(a.Comment))}
	found := false
	for _, f := range a.Files {
		switch f.Name {
		case "config":
			s.Config = []byte(inPlace(text, f))
		case "zone":
			s.Zone = inPlace(text, f)
		case "smtp":
			found = true
			if err := s.parse(string(f.Data), firstLine(text, "-- smtp --")); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%s:%d: unknown part %q; want config, zone or smtp", name, firstLine(text, f.Name), f.Name)
		}
	}
	if !found {
		return nil, fmt.Errorf("%s: no part \"smtp\": want a line \"-- smtp --\" and the dialogue after it", name)
	}
	return s, nil
}

// inPlace is a part of the file at the line at which it stands there.
func inPlace(text []byte, part txtar.File) string {
	return strings.Repeat("\n", firstLine(text, "-- "+part.Name+" --")) + string(part.Data)
}

// firstLine is the number of the first line that holds word, or 1.
func firstLine(text []byte, word string) int {
	for i, line := range strings.Split(string(text), "\n") {
		if strings.Contains(line, word) {
			return i + 1
		}
	}
	return 1
}

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
			return fmt.Errorf("a reply is expected before anything was said")
		}
		last := &s.Steps[len(s.Steps)-1]
		last.Expect = append(last.Expect, strings.TrimSpace(rest))
	case "time":
		t, err := time.Parse(time.RFC3339, strings.TrimSpace(rest))
		if err != nil {
			return fmt.Errorf("time %q: want it as 2026-11-21T12:00:00Z", rest)
		}
		if t.IsZero() {
			return fmt.Errorf("time %q: this one stands for no time; want a later one", rest) // to a Step and to the checks
		}
		s.Steps = append(s.Steps, Step{Line: n, Time: t})
	case "client":
		c, err := parseClient(rest)
		if err != nil {
			return err
		}
		s.Steps = append(s.Steps, Step{Line: n, Client: c})
	default:
		return fmt.Errorf("%q begins with none of C: S: client time #", line)
	}
	return nil
}

func parseClient(text string) (Client, error) {
	words := strings.Fields(text)
	if len(words) < 1 || len(words) > 2 {
		return Client{}, fmt.Errorf("client %q: want an address, and perhaps the name the MTA found", text)
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
