// Package miltertest is the MTA's side of the milter protocol, and real mail servers, for tests.
//
// Conn speaks the protocol as Postfix and Sendmail do: it offers version 6 with all its options, keeps to what the filter chose,
// sends no event that the filter does not want, and waits for no reply that the filter does not give. Site starts a Postfix, a
// Sendmail or an Exim with a name server and a syslog of its own; it needs root and what .ci/install installs.
package miltertest

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"milterd/milter/resolver/dnstest"
)

// Require skips the test unless MILTERD_TEST_REAL=1 says that this machine has the real mail servers. Then whatever
// lacks is a failure: a test that quietly does not run proves nothing.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv("MILTERD_TEST_REAL") != "1" {
		t.Skip("needs a real Postfix, Sendmail and Exim: run `make test`, or .ci/install and set MILTERD_TEST_REAL=1")
	}
	if os.Geteuid() != 0 {
		t.Fatal("MILTERD_TEST_REAL=1 needs root, for mount namespaces and Postfix's master")
	}
	for _, f := range []string{eximBinary(), sendmailBinary(), filepath.Join(sendmailConfig(), "m4/cf.m4")} {
		if _, err := os.Stat(f); err != nil {
			t.Fatalf("%v: run .ci/install", err)
		}
	}
	for _, c := range []string{"postfix", "m4", "mount"} {
		if _, err := lookPath(c); err != nil {
			t.Fatalf("%v: run .ci/install", err)
		}
	}
}

// lookPath also finds what only root has in its path.
func lookPath(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	return exec.LookPath("/usr/sbin/" + name)
}

// unpacked is where .ci/install unpacks the packages of a mail server.
func unpacked(name string) string {
	dir := os.Getenv("MILTERD_TEST_ROOT")
	if dir == "" {
		dir = "/opt/milterd-test"
	}
	return filepath.Join(dir, name)
}

func eximBinary() string { return filepath.Join(unpacked("exim"), "usr/sbin/exim4") }

func sendmailBinary() string {
	return filepath.Join(unpacked("sendmail"), "usr/libexec/sendmail/sendmail")
}

func sendmailConfig() string { return filepath.Join(unpacked("sendmail"), "usr/share/sendmail/cf") }

// Site is where the programs of a test live. Make it with New.
type Site struct {
	Dir string          // everything written; inside the namespaces it is /mnt too
	DNS *dnstest.Server // answers from the zone
	Log *Syslog         // what the programs have logged

	Domain string // whose mail the servers take that are started from now on: mx.test

	// Outbound lets servers that are started from now on send mail for other domains where the DNS says, to the port 2525.
	Outbound bool

	// Certificate is that of the servers. A client that shows it to Sendmail may say AUTH EXTERNAL.
	Certificate tls.Certificate
}

// New makes a site whose DNS is the zone text. It is gone when the test ends.
func New(t testing.TB, zone string) *Site {
	t.Helper()
	// Not t.TempDir: its parents are closed to the users that Postfix runs as.
	dir, err := os.MkdirTemp("", "mtatest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("MILTERD_TEST_KEEP") != "" {
			t.Logf("kept %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	s := &Site{Dir: dir, DNS: startDNS(t, zone), Domain: "mx.test"}
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Mkdir(s.path("dev"), 0o755))
	must(t, os.Mkdir(s.path("ca"), 0o755))
	host, _, _ := net.SplitHostPort(s.DNS.Addr)
	s.write(t, "hosts", "127.0.0.1 localhost mx.test\n::1 localhost\n")
	// The resolvers of the MTAs must not wait longer for silence than a test does.
	s.write(t, "resolv.conf", "nameserver "+host+"\noptions timeout:1 attempts:1\n")
	for name, entry := range map[string]string{"passwd": ":x:%d:%[1]d::/:/usr/sbin/nologin", "group": ":x:%d:"} {
		text, err := os.ReadFile("/etc/" + name)
		must(t, err)
		s.write(t, name, withExim(string(text), fmt.Sprintf(entry, eximID)))
	}
	s.Log = startSyslog(t, s.path("log.sock"))
	t.Cleanup(func() {
		if t.Failed() {
			const enough = 60
			lines := s.Log.Lines()
			var text strings.Builder
			for _, line := range lines[max(0, len(lines)-enough):] {
				fmt.Fprintf(&text, "\n%s %s", line.Tag, line.Text)
			}
			t.Logf("the last of %d lines in syslog:%s", len(lines), text.String())
		}
	})
	s.Certificate = writeCertificate(t, s.path("tls.crt"), s.path("tls.key"), s.path("tls.pem"))
	return s
}

func (s *Site) path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}

func (s *Site) write(t testing.TB, name, text string) {
	t.Helper()
	must(t, os.WriteFile(s.path(name), []byte(text), 0o644))
}

// startDNS listens on port 53, because /etc/resolv.conf cannot name another one.
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

// enter makes a mount namespace the site's own and becomes the program of its arguments, keeping the process id. The
// first argument is the site's directory.
//
// The devices are bound, not made: a container may forbid mknod. The directory is bound to /mnt because sendmail takes
// no key and no socket from below a directory that anyone can write to, such as /tmp, and has no option to allow it.
const enter = `set -e
dir=$1; shift
mount --make-rprivate /
mount -t tmpfs mtatest "$dir/dev"
for d in null zero full random urandom tty; do
	[ -e /dev/$d ] || continue
	: >"$dir/dev/$d"
	mount --bind /dev/$d "$dir/dev/$d"
done
ln -s /mnt/log.sock "$dir/dev/log"
ln -s /proc/self/fd "$dir/dev/fd"
mount --bind "$dir" /mnt
for f in hosts resolv.conf passwd group; do
	mount --bind "$dir/$f" "/etc/$f"
done
mount --rbind "$dir/dev" /dev
exec "$@"`

// Command prepares a program that will run inside the site.
func (s *Site) Command(name string, args ...string) *exec.Cmd {
	c := exec.Command("/bin/sh", append([]string{"-c", enter, "enter", s.Dir, name}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL, // go test kills a test that hangs, and its clean-up never runs
	}
	c.WaitDelay = 5 * time.Second
	return c
}

// keeper runs its arguments as a child and stays the first process of the namespace. A program that changes its user
// loses the order to die with its parent, and Postfix's master does: the shell keeps it, and takes all with it.
const keeper = `"$@"; exit $?`

// keptCommand is Command for a program that changes its user. It must not be signalled: the keeper would get it.
func (s *Site) keptCommand(name string, args ...string) *exec.Cmd {
	return s.Command("/bin/sh", append([]string{"-c", keeper, "keeper", name}, args...)...)
}

// Process is a running program of a site.
type Process struct {
	*exec.Cmd
	done   chan struct{}
	err    error
	output *lockedBuffer
}

// Start runs a program until the test ends. All that it started ends with it.
func Start(t testing.TB, c *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Cmd: c, done: make(chan struct{}), output: new(lockedBuffer)}
	if c.Stdout == nil {
		c.Stdout = p.output
	}
	if c.Stderr == nil {
		c.Stderr = p.output
	}
	must(t, c.Start())
	go func() {
		p.err = c.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if out := p.Output(); t.Failed() && out != "" {
			const enough = 3000
			t.Logf("%s said:\n%.*s", filepath.Base(c.Path), enough, out)
		}
	})
	return p
}

// Kill ends the program at once, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.Process.Kill() // it may have ended by itself
	<-p.done
}

// Signal sends a signal to the program.
func (p *Process) Signal(t testing.TB, sig os.Signal) {
	t.Helper()
	must(t, p.Process.Signal(sig))
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells, after Done, how the program ended.
func (p *Process) Err() error { return p.err }

// Output is what the program has written so far.
func (p *Process) Output() string { return p.output.String() }

type lockedBuffer struct {
	mu   sync.Mutex
	data []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, p...)
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.data)
}

// Patience is how long a test waits for what must happen. Loaded machines are slow; only a failing test waits so long.
const Patience = 60 * time.Second

// Eventually waits until ready says true, and fails the test if that takes too long.
func Eventually(t testing.TB, what string, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(5 * time.Millisecond) {
		if ready() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", Patience, what)
		}
	}
}

// Loopback returns an address of 127/8 that no other test is likely to use. The first 2^16, where clients and system
// services are, are left out.
func Loopback() string {
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(256), 1+rand.IntN(250))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
