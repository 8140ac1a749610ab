package miltertest

import (
	"net"
	"os"
	"strings"
	"testing"
)

// Exim starts an Exim. It knows no milters: it is here for what it writes into the mail that it delivers.
func (s *Site) Exim(t testing.TB) *MTA {
	t.Helper()
	host := Loopback()
	for _, d := range []string{"spool", "mail"} {
		dir := s.path("exim", d)
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.Chown(dir, eximID, eximID))
	}
	s.fill(t, "exim.conf", "exim/exim.conf", settings{Site: s, Host: host, Binary: eximBinary()})
	p := Start(t, s.keptCommand(eximBinary(), "-C", s.path("exim/exim.conf"), "-bdf"))
	m := &MTA{
		Name: "exim", Addr: net.JoinHostPort(host, "2525"), Open: net.JoinHostPort(host, "2526"),
		mailboxes: func(user string) ([]string, error) { return readMaildir(s.path("exim/mail", user)) },
	}
	s.awaitSMTP(t, m, p)
	return m
}

// eximID is the user and the group of Debian's Exim in a site. Its name is built into the program, and is not on this machine if
// the package is unpacked only.
const (
	eximID   = 64999
	eximUser = "Debian-exim"
)

// withExim adds that user to the text of a passwd or group file.
func withExim(text, entry string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, eximUser+":") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "") + eximUser + entry + "\n"
}
