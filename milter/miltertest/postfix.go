package miltertest

import (
	"embed"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
)

//go:embed conf
var conf embed.FS

// MTA is a running mail server for the domain of its site, whose users are alice, bob and postmaster. Others do not exist
// (550 5.1.1), it relays for nobody who has not authenticated, and nothing leaves the machine.
type MTA struct {
	Name    string // "postfix", "sendmail" or "exim"
	Addr    string // SMTP; answers 451 while the milter cannot be reached
	Open    string // SMTP; lets mail pass while the milter cannot be reached
	Addr6   string // SMTP over IPv6; empty: see XCLIENT
	Milter  string // where it expects the milter: a listener as milterd's configuration spells it; empty: nowhere
	XClient bool   // understands XCLIENT, from any client

	mailboxes func(user string) ([]string, error)
}

// settings fill the templates in conf.
type settings struct {
	*Site
	Addr, Host, Open, Port6, Milter, CF, Binary string
}

// fill writes a template of conf to a file of the site.
func (s *Site) fill(t testing.TB, name, file string, with settings) {
	t.Helper()
	// The brackets of Go templates occur in m4 and main.cf; these do not.
	text, err := conf.ReadFile("conf/" + name)
	must(t, err)
	tpl, err := template.New(name).Delims("@[", "]@").Parse(string(text))
	must(t, err)
	f, err := os.Create(s.path(file))
	must(t, err)
	must(t, tpl.Execute(f, with))
	must(t, f.Close())
}

// Postfix starts a Postfix, with more settings in its main.cf, or other ones. It calls the milter by a unix socket that its own user must be able
// to open.
func (s *Site) Postfix(t testing.TB, more ...string) *MTA {
	t.Helper()
	host := Loopback()
	with := settings{
		Site: s, Host: host,
		Addr: net.JoinHostPort(host, "2525"), Open: net.JoinHostPort(host, "2526"),
		Milter: s.path("postfix.sock"),
	}
	for _, d := range []string{"etc", "spool", "data", "mail"} {
		must(t, os.MkdirAll(s.path("postfix", d), 0o755))
	}
	s.fill(t, "main.cf", "postfix/etc/main.cf", with)
	s.fill(t, "master.cf", "postfix/etc/master.cf", with)
	s.fill(t, "users", "postfix/etc/users", with)
	must(t, chown(s.path("postfix/data"), "postfix"))
	must(t, chown(s.path("postfix/mail"), "nobody"))

	postfix, err := lookPath("postfix")
	must(t, err)
	if len(more) > 0 {
		// Not just appended: Postfix warns of a setting that is there twice, at every start of each of its programs.
		postconf, err := lookPath("postconf")
		must(t, err)
		out, err := exec.Command(postconf, append([]string{"-c", s.path("postfix/etc"), "-e"}, more...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("postconf: %v\n%s", err, out)
		}
	}
	p := Start(t, s.keptCommand(postfix, "-c", s.path("postfix/etc"), "start-fg"))
	m := &MTA{
		Name: "postfix", Addr: with.Addr, Open: with.Open, XClient: true,
		Milter:    "unix:" + with.Milter,
		mailboxes: func(user string) ([]string, error) { return readMaildir(s.path("postfix/mail", user)) },
	}
	s.awaitSMTP(t, m, p)
	if s.Outbound {
		// The queue manager would do it, but a message whose last delivery has not quite ended when its turn comes waits for
		// 60 s then, whatever main.cf says, unless somebody asks for it.
		postqueue, err := lookPath("postqueue")
		must(t, err)
		Start(t, s.Command("/bin/sh", "-c", `while sleep 1; do "$0" -c "$1" -f; done`, postqueue, s.path("postfix/etc")))
	}
	return m
}

// awaitSMTP waits until the server greets. Without a milter a greeting still comes: both defer that to MAIL.
func (s *Site) awaitSMTP(t testing.TB, m *MTA, p *Process) {
	t.Helper()
	Eventually(t, m.Name+" listens", func() bool {
		select {
		case <-p.Done():
			t.Fatalf("%s ended: %v\n%s\n%v", m.Name, p.Err(), p.Output(), s.Log.Lines())
		default:
		}
		c, err := net.Dial("tcp", m.Addr)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

// Mail returns the messages that were delivered to a user, in no order.
func (m *MTA) Mail(t testing.TB, user string) []string {
	t.Helper()
	all, err := m.mailboxes(user)
	must(t, err)
	return all
}

// Delivered waits for the message to a user that contains a text, which the test has made unique.
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

// Authenticate makes a client that has just connected an authenticated one, with whatever HELO name. It returns the
// user's name, as the milter is told.
func (m *MTA) Authenticate(c *Client, s *Site) string {
	c.t.Helper()
	if m.XClient {
		c.Must("2", "XCLIENT LOGIN=ann")
		c.Must("2", "EHLO [192.168.1.7]")
		return "ann"
	}
	c.Must("2", "EHLO [192.168.1.7]")
	c.StartTLS(s.Certificate)
	c.Must("2", "EHLO [192.168.1.7]")
	c.Must("2", "AUTH EXTERNAL =")
	return "/CN+3Dmx.test" // in the encoding of RFC 3461 section 4
}

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
