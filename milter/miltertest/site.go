package miltertest

import (
	"crypto/tls"
	"embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"milterd/milter/resolver/dnstest"
)

// Site is a private environment for the programs of a test. It has a directory of its own, a name server that runs in
// the test's process, and a syslog that the test can read.
//
// The programs run in mount and process namespaces of their own. In there /etc/hosts, /etc/resolv.conf, /etc/passwd,
// /etc/group and /dev/log are those of the site, and its directory is also /mnt. When the first process of a process
// namespace ends, the kernel kills all others in it, so no program outlives the test, even if the test panics.
//
// Servers listen at fixed ports of random loopback addresses, so several sites can exist at the same time.
type Site struct {
	Dir string          // everything that the programs write
	DNS *dnstest.Server // answers from the zone
	Log *Syslog         // what the programs log

	// Domain is the domain whose mail servers started from now on accept; NewSite sets it to mx.test.
	Domain string

	// Outbound lets servers started from now on send mail to other domains, at port 2525 of the hosts in the DNS.
	Outbound bool

	// Certificate is the certificate of the servers. A client that presents it to Sendmail may use AUTH EXTERNAL.
	Certificate tls.Certificate
}

// NewSite returns a site whose DNS has the records of the zone text. It is removed at the end of the test, unless the
// test failed and MILTERD_TEST_KEEP is set.
func NewSite(t testing.TB, zone string) *Site {
	t.Helper()
	s := &Site{Dir: siteDir(t), DNS: startDNS(t, zone), Domain: "mx.test"}
	must(t, os.Mkdir(s.path("dev"), 0o755))
	must(t, os.Mkdir(s.path("ca"), 0o755))
	host, _, _ := net.SplitHostPort(s.DNS.Addr)
	s.write(t, "hosts", "127.0.0.1 localhost mx.test\n::1 localhost\n")
	// The resolvers of the MTAs must give up a silent name server before the test does.
	s.write(t, "resolv.conf", "nameserver "+host+"\noptions timeout:1 attempts:1\n")
	for name, entry := range map[string]string{"passwd": ":x:%d:%[1]d::/:/usr/sbin/nologin", "group": ":x:%d:"} {
		text, err := os.ReadFile("/etc/" + name)
		must(t, err)
		s.write(t, name, withExim(string(text), fmt.Sprintf(entry, eximID)))
	}
	s.Log = startSyslog(t, s.path("log.sock"))
	t.Cleanup(func() {
		if t.Failed() {
			s.showLog(t)
		}
	})
	s.Certificate = writeCertificate(t, s.path("tls.crt"), s.path("tls.key"), s.path("tls.pem"))
	return s
}

// siteDir makes the directory of a site. The parents of t.TempDir are closed to the users that Postfix runs as.
func siteDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "miltertest-")
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("MILTERD_TEST_KEEP") != "" {
			t.Logf("kept %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	must(t, os.Chmod(dir, 0o755))
	return dir
}

// showLog writes the last lines of the syslog to the test's log.
func (s *Site) showLog(t testing.TB) {
	const shown = 60
	lines := s.Log.Lines()
	var text strings.Builder
	for _, line := range lines[max(0, len(lines)-shown):] {
		fmt.Fprintf(&text, "\n%s %s", line.Tag, line.Text)
	}
	t.Logf("the last of %d lines in syslog:%s", len(lines), text.String())
}

func (s *Site) path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}

func (s *Site) write(t testing.TB, name, text string) {
	t.Helper()
	must(t, os.WriteFile(s.path(name), []byte(text), 0o644))
}

// startDNS starts the name server at port 53, the only one that /etc/resolv.conf can express.
func startDNS(t testing.TB, zone string) *dnstest.Server {
	t.Helper()
	const attempts = 20
	var err error
	for range attempts {
		var server *dnstest.Server
		if server, err = dnstest.Listen(net.JoinHostPort(Loopback(), "53"), zone); err == nil {
			t.Cleanup(server.Close)
			return server
		}
	}
	t.Fatalf("no name server: %v", err)
	return nil
}

//go:embed conf
var conf embed.FS

// settings are the values of the templates in conf.
type settings struct {
	*Site
	Addr, Host, Open, Second, Port6 string
	Milter, First, CF, Binary       string
	Example                         string // lines of examples that attach the milter
}

// fill executes a template of conf and writes the result to a file of the site.
func (s *Site) fill(t testing.TB, name, file string, with settings) {
	t.Helper()
	text, err := conf.ReadFile("conf/" + name)
	must(t, err)
	// The default delimiters of templates occur in m4 and main.cf.
	tpl, err := template.New(name).Delims("@[", "]@").Parse(string(text))
	must(t, err)
	f, err := os.Create(s.path(file))
	must(t, err)
	must(t, tpl.Execute(f, with))
	must(t, f.Close())
}
