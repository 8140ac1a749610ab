package miltertest

import (
	"net"
	"os"
	"strings"
	"testing"
)

// Exim starts an Exim. It has no milter interface; tests read the fields that it adds to delivered mail.
func (s *Site) Exim(t testing.TB) *MTA {
	t.Helper()
	host := Loopback()
	for _, d := range []string{"spool", "mail"} {
		dir := s.path("exim", d)
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.Chown(dir, eximID, eximID))
	}
	s.fill(t, "exim.conf", "exim/exim.conf", settings{Site: s, Host: host, Binary: eximBinary()})
	p := StartProcess(t, s.keptCommand(eximBinary(), "-C", s.path("exim/exim.conf"), "-bdf"))
	m := &MTA{
		Name: "exim", Addr: net.JoinHostPort(host, "2525"), Open: net.JoinHostPort(host, "2526"),
		mailboxes: func(user string) ([]string, error) { return readMaildir(s.path("exim/mail", user)) },
	}
	s.awaitSMTP(t, m, p)
	return m
}

// Debian's Exim runs as the user and group eximUser, a name that is compiled into it. They do not exist on a machine
// where the package is only unpacked, so a site has them under the number eximID.
const (
	eximID   = 64999
	eximUser = "Debian-exim"
)

// withExim returns the text of a passwd or group file with an entry for eximUser.
func withExim(text, entry string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, eximUser+":") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "") + eximUser + entry + "\n"
}
