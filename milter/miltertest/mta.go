package miltertest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// MTA is a running mail server for the domain of its site. The domain has the users alice, bob and postmaster; other
// recipients are refused with 550 5.1.1. The server relays only for authenticated clients, and no mail leaves the
// machine.
type MTA struct {
	Name    string // "postfix", "sendmail" or "exim"
	Addr    string // SMTP; answers 451 while the milter cannot be reached
	Open    string // SMTP; accepts mail while the milter cannot be reached
	Addr6   string // SMTP over IPv6; empty for Postfix, whose clients use XCLIENT
	Milter  string // where the MTA connects to its milter, as milterd's configuration spells it; empty for Exim
	Second  string // SMTP; the MTA asks the milter at First before that at Milter; empty for Exim
	First   string // where the MTA connects to the first milter of Second, in the form of Milter; empty for Exim
	XClient bool   // whether every client may use XCLIENT

	mailboxes  func(user string) ([]string, error)
	quarantine []string                   // the command that lists quarantined messages
	release    func(id string) [][]string // the commands that have a quarantined message delivered
	site       *Site
}

// Quarantine returns the MTA's list of quarantined messages, as an operator sees it.
func (m *MTA) Quarantine(t testing.TB) string {
	t.Helper()
	return m.run(t, m.quarantine)
}

// Release has the quarantined message with a queue ID delivered, as an operator does.
func (m *MTA) Release(t testing.TB, id string) {
	t.Helper()
	for _, command := range m.release(id) {
		m.run(t, command)
	}
}

// run runs a command of the MTA and returns its output.
func (m *MTA) run(t testing.TB, command []string) string {
	t.Helper()
	out, err := m.site.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// awaitSMTP waits until the server accepts connections.
func (s *Site) awaitSMTP(t testing.TB, m *MTA, p *Process) {
	t.Helper()
	Eventually(t, m.Name+" listens", func() bool {
		if p.Ended() {
			t.Fatalf("%s ended: %v\n%s\n%v", m.Name, p.Err(), p.Output(), s.Log.Lines())
		}
		c, err := net.Dial("tcp", m.Addr)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

// Mail returns the messages that were delivered to a user, in no particular order.
func (m *MTA) Mail(t testing.TB, user string) []string {
	t.Helper()
	all, err := m.mailboxes(user)
	must(t, err)
	return all
}

// Delivered waits for a message to a user that contains a text, and returns it. The text must be unique.
func (m *MTA) Delivered(t testing.TB, user, text string) string {
	t.Helper()
	var found string
	Eventually(t, m.Name+" delivers to "+user+": "+text, func() bool {
		for _, msg := range m.Mail(t, user) {
			if strings.Contains(msg, text) {
				found = msg
			}
		}
		return found != ""
	})
	return found
}

// Authenticate authenticates a client that has just connected, and sends EHLO with an address literal. It returns the
// user's name as the MTA reports it to the milter.
func (m *MTA) Authenticate(c *SMTPClient) string {
	c.t.Helper()
	if m.XClient {
		c.Must("2", "XCLIENT LOGIN=ann")
		c.Must("2", "EHLO [192.168.1.7]")
		return "ann"
	}
	c.Must("2", "EHLO [192.168.1.7]")
	c.StartTLS(m.site.Certificate)
	c.Must("2", "EHLO [192.168.1.7]")
	c.Must("2", "AUTH EXTERNAL =")
	return "/CN+3Dmx.test" // xtext, RFC 3461 section 4
}

// readMaildir returns the messages of a Maildir that no one has read.
func readMaildir(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "new", "*"))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		all = append(all, string(data))
	}
	return all, nil
}
