package miltertest

import (
	"net"
	"os"
	"os/exec"
	"testing"
)

// Postfix starts a Postfix. Parameters of the form "name = value" are set in its main.cf in place of those of the site.
// It connects to the milter at a unix socket, which the user postfix must be able to open.
func (s *Site) Postfix(t testing.TB, parameters ...string) *MTA {
	t.Helper()
	host := Loopback()
	with := settings{
		Site: s, Host: host,
		Addr: net.JoinHostPort(host, "2525"), Open: net.JoinHostPort(host, "2526"),
		Milter: s.path("postfix.sock"), Second: net.JoinHostPort(host, "2527"), First: s.path("first.sock"),
	}
	with.Example = exampleLines(t, "postfix-main.cf", "#", "inet:127.0.0.1:8891", "unix:"+with.Milter)
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
	if len(parameters) > 0 {
		// Not appended to the file: every program of Postfix warns of a parameter that is set twice.
		postconf, err := lookPath("postconf")
		must(t, err)
		out, err := exec.Command(postconf, append([]string{"-c", s.path("postfix/etc"), "-e"}, parameters...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("postconf: %v\n%s", err, out)
		}
	}
	p := StartProcess(t, s.keptCommand(postfix, "-c", s.path("postfix/etc"), "start-fg"))
	m := &MTA{
		Name: "postfix", Addr: with.Addr, Open: with.Open, XClient: true,
		Milter:    "unix:" + with.Milter,
		Second:    with.Second,
		First:     "unix:" + with.First,
		mailboxes: func(user string) ([]string, error) { return readMaildir(s.path("postfix/mail", user)) },
		site:      s,
	}
	postqueue, err := lookPath("postqueue")
	must(t, err)
	postsuper, err := lookPath("postsuper")
	must(t, err)
	m.quarantine = []string{postqueue, "-c", s.path("postfix/etc"), "-p"}
	m.release = func(id string) [][]string {
		return [][]string{{postsuper, "-c", s.path("postfix/etc"), "-H", id}, {postqueue, "-c", s.path("postfix/etc"), "-i", id}}
	}
	s.awaitSMTP(t, m, p)
	if s.Outbound {
		// Flush the queue each second. The queue manager would retry by itself, but it puts a message off for 60 s, whatever
		// main.cf says, if the last attempt has not ended when the message is due.
		StartProcess(t, s.Command("/bin/sh", "-c", `while sleep 1; do "$0" -c "$1" -f; done`, postqueue, s.path("postfix/etc")))
	}
	return m
}
