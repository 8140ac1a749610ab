// Package daemontest is the kit of the end-to-end tests. It builds milterd and runs it with a configuration file, as an
// operator does, and talks to it over its sockets.
//
// Start runs a daemon alone; the test is its MTA, see Client and Daemon.Play. StartInSite runs one behind real mail
// servers, see MailServer. World is the DNS of most tests. Daemon.Command runs milterd's commands, and Daemon.AwaitEntry
// reads the log.
//
// The tests are in the packages beside this one, by subject. They need nothing installed, except for those that call
// miltertest.Require.
package daemontest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// Daemon is a running milterd.
type Daemon struct {
	*miltertest.Process
	Listener string          // the one that Connect and Play use, as the configuration spells it
	Listen   []string        // all listeners, as YAML
	File     string          // its configuration file
	Program  string          // that Launch runs; empty: Binary
	Lines    func() []string // returns the lines of its log so far
}

// New returns a daemon with a configuration file, which Launch runs with the log on standard error.
func New(t testing.TB, c Config) *Daemon {
	t.Helper()
	d := &Daemon{Listener: "inet:7525@" + miltertest.Loopback(), File: filepath.Join(t.TempDir(), "milterd.yaml")}
	d.Listen = append(c.Listen, strconv.Quote(d.Listener))
	c.Listen, c.Syslog = d.Listen, "off"
	d.Configure(t, c)
	d.Lines = func() []string {
		// Warnings about the configuration come before the first line of the log.
		_, log, _ := strings.Cut("\n"+d.Output(), "\ntime=")
		return strings.Split(strings.TrimSpace("time="+log), "\n")
	}
	return d
}

// Start runs milterd until the end of the test, with the log on standard error, and waits until it serves.
func Start(t testing.TB, c Config) *Daemon {
	t.Helper()
	d := New(t, c)
	d.Launch(t)
	d.Await(t)
	return d
}

// StartWithSocket is Start for a daemon with the profile safe, the DNS World and an admin socket, whose path it returns.
func StartWithSocket(t testing.TB, actions map[string]string, extra string) (d *Daemon, socket string) {
	t.Helper()
	socket = filepath.Join(SocketDir(t), "admin.sock")
	d = Start(t, Config{
		DNS: dnstest.Start(t, World).Addr, Profile: "safe", Actions: actions,
		Extra: fmt.Sprintf("admin: {listen: \"\", socket: %q}\n%s", socket, extra),
	})
	return d, socket
}

// Launch runs the daemon with its configuration file, also after it ended. It does not wait until the daemon listens.
func (d *Daemon) Launch(t testing.TB) {
	t.Helper()
	if d.Program == "" {
		d.Program = Binary(t)
	}
	cmd := exec.Command(d.Program, "serve", "-c", d.File)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // for state without a path in the configuration
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	d.Process = miltertest.StartProcess(t, cmd)
}

// SocketMode is the mode of a unix socket whose group is Postfix's.
const SocketMode fs.FileMode = 0o660

// StartInSite runs milterd in a site, at the listeners of mail servers, with the log in the site's syslog. It waits until
// the daemon listens.
func StartInSite(t testing.TB, s *miltertest.Site, c Config, mtas ...*miltertest.MTA) *Daemon {
	t.Helper()
	for _, m := range mtas {
		listen := strconv.Quote(m.Milter)
		if strings.HasPrefix(m.Milter, "unix:") {
			listen = fmt.Sprintf(`{socket: %q, mode: "%#o", group: postfix}`, m.Milter, uint32(SocketMode))
		}
		c.Listen = append(c.Listen, listen)
	}
	d := &Daemon{Listen: c.Listen, File: filepath.Join(s.Dir, "milterd.yaml")}
	c.Syslog = "mail"
	d.Configure(t, c)
	d.Process = miltertest.StartProcess(t, s.Command(Binary(t), "serve", "-c", d.File))
	d.Lines = LinesIn(s)
	for _, m := range mtas {
		d.Listener = m.Milter
		d.Await(t)
	}
	return d
}

// LinesIn returns a function that returns the lines of milterd in the syslog of a site.
func LinesIn(s *miltertest.Site) func() []string {
	return func() (lines []string) {
		for _, l := range s.Log.Lines() {
			const mail = 2 // LOG_MAIL
			if l.Tag == "milterd" && l.Facility == mail {
				lines = append(lines, l.Text)
			}
		}
		return lines
	}
}

// Configure writes the configuration file.
func (d *Daemon) Configure(t testing.TB, c Config) {
	t.Helper()
	if err := os.WriteFile(d.File, []byte(c.YAML()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Await waits until the daemon serves at Listener: until it answers the negotiation of a mail server. It accepts connections a
// little earlier, when its pages still say that it is not ready.
func (d *Daemon) Await(t testing.TB) {
	t.Helper()
	network, addr := miltertest.SplitListener(d.Listener)
	miltertest.Eventually(t, "milterd listens on "+addr, func() bool {
		if d.Ended() {
			t.Fatalf("milterd ended: %v\n%s", d.Err(), d.Output())
		}
		c, err := miltertest.Dial(network, addr, miltertest.WaitTimeout)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

// Stop sends SIGTERM and waits for the end of the daemon.
func (d *Daemon) Stop(t testing.TB) {
	t.Helper()
	d.Signal(t, syscall.SIGTERM)
	miltertest.Eventually(t, "milterd ends after SIGTERM", d.Ended)
}
