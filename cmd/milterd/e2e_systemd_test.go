package main_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// systemd is what the service manager hears.
type systemd struct{ conn *net.UnixConn }

func newSystemd(t *testing.T) (s systemd, address string) {
	t.Helper()
	address = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return systemd{conn}, address
}

// await reads notifications until one has the state.
func (s systemd) await(t *testing.T, state string) {
	t.Helper()
	buf := make([]byte, 4096)
	_ = s.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			t.Fatalf("%s: %v", state, err)
		}
		if strings.Contains(string(buf[:n]), state) {
			return
		}
	}
}

// activation is what systemd gives to a daemon with a socket unit: a socket that outlives it, and a place for notifications.
type activation struct {
	listener string // as a configuration spells it
	socket   *os.File
	file     string // the configuration
	env      []string
}

// unused are the listeners of a configuration for a daemon that is given others.
var unused = []string{`"unix:/unused/milterd.sock"`}

// newActivation makes a socket for a daemon with the configuration, whose own listeners are of no use.
func newActivation(t *testing.T, configuration string, env ...string) *activation {
	t.Helper()
	ln, err := net.Listen("tcp", miltertest.Loopback()+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	a := &activation{file: filepath.Join(t.TempDir(), "milterd.yaml")}
	if a.socket, err = ln.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.socket.Close() })
	addr := ln.Addr().(*net.TCPAddr)
	a.listener = fmt.Sprintf("inet:%d@%s", addr.Port, addr.IP)
	if err := os.WriteFile(a.file, []byte(configuration), 0o644); err != nil {
		t.Fatal(err)
	}
	a.env = append(os.Environ(), append(env, "LISTEN_FDS=1", "HOME="+t.TempDir())...)
	return a
}

// start hands the socket to a daemon.
func (a *activation) start(t *testing.T) *miltertest.Process {
	t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, daemontest.Binary(t), "serve", "-c", a.file)
	cmd.ExtraFiles, cmd.Env = []*os.File{a.socket}, a.env // descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return miltertest.StartProcess(t, cmd)
}

func ended(p *miltertest.Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// TestSystemd hands the daemon a socket and listens to its notifications, as the units in the folder systemd want it.
func TestSystemd(t *testing.T) {
	t.Parallel()
	manager, address := newSystemd(t)
	a := newActivation(t, "hostname: mx.test\nlog: {syslog: off}\nlisten: unix:"+t.TempDir()+"/unused.sock\n", "NOTIFY_SOCKET="+address, "WATCHDOG_USEC=200000")
	p := a.start(t)

	manager.await(t, "READY=1")
	manager.await(t, "WATCHDOG=1")
	network, where := miltertest.SplitListener(a.listener)
	m, err := miltertest.Dial(network, where, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Connect("x", netip.MustParseAddrPort("192.0.2.9:25"), nil); err != nil {
		t.Error(err)
	}
	if err := m.Quit(); err != nil {
		t.Error(err)
	}
	p.Signal(t, syscall.SIGHUP)
	manager.await(t, "RELOADING=1")
	manager.await(t, "READY=1")
	p.Signal(t, syscall.SIGTERM)
	manager.await(t, "STOPPING=1")
	miltertest.Eventually(t, "the daemon ends", func() bool { return p.Ended() })
}

// TestReloadDuringTheStart: who tells a daemon to reload while that waits for its name servers does not end it.
func TestReloadDuringTheStart(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	d := &daemontest.Daemon{Listener: "inet:7525@" + miltertest.Loopback(), File: filepath.Join(t.TempDir(), "milterd.yaml")}
	d.Configure(t, daemontest.Config{
		Listen: []string{strconv.Quote(d.Listener)}, DNS: silent.LocalAddr().String(), Syslog: "off", Profile: "safe",
		Extra: "checks: {dnsbl: {zones: [{zone: list.test, codes: [127.0.0.2]}]}}\n",
	})
	d.Launch(t)
	if _, _, err := silent.ReadFrom(make([]byte, 512)); err != nil { // it tests its DNS list
		t.Fatal(err)
	}
	d.Signal(t, syscall.SIGHUP)
	d.Await(t)
	miltertest.Eventually(t, "the reload is made up for", func() bool { return strings.Contains(d.Output(), "configuration reloaded") })
}

// TestReplacedUnderLoad restarts a daemon with a socket of systemd again and again, while mail servers send. No connection is
// refused or broken off before it began, every message is delivered; and who is in the midst of a session gets to its end.
func TestReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	c := daemontest.Config{Listen: unused, DNS: dnstest.Start(t, daemontest.World).Addr, Syslog: "off", Profile: "strict", Actions: map[string]string{"first-contact": "off"}}
	c.Extra = fmt.Sprintf("store: {driver: embedded, path: %q}\n", t.TempDir())
	a := newActivation(t, c.YAML())
	d := &daemontest.Daemon{Listener: a.listener}
	var delivered atomic.Int64
	done := make(chan struct{})
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond) // a client thinks
			defer tick.Stop()
			for {
				select {
				case <-done:
					return
				case <-tick.C:
				}
				began := time.Now()
				c, err := d.Connect(daemontest.GoodClient)
				if err != nil {
					t.Errorf("a mail server found no filter after %v: %v", time.Since(began), err)
					return
				}
				began = time.Now()
				for range 3 {
					<-tick.C
					r, err := c.Envelope(daemontest.GoodSender, "alice@mx.test")
					if err == nil && r == "" {
						<-tick.C
						r, err = c.SendMessage()
					}
					// On a busy machine a client may be silent for longer than a stopping daemon waits.
					if r != "" || err != nil && time.Since(began) < time.Second {
						t.Errorf("message %d: %q, %v after %v", delivered.Load(), r, err, time.Since(began))
					}
					if err != nil {
						break
					}
					delivered.Add(1)
				}
				_ = c.Quit()
			}
		})
	}
	defer func() { close(done); senders.Wait() }()
	for range 5 {
		p := a.start(t)
		until := delivered.Load() + 50
		miltertest.Eventually(t, "mail is delivered", func() bool { return delivered.Load() >= until || t.Failed() })
		p.Signal(t, syscall.SIGTERM)
		miltertest.Eventually(t, "the daemon ends", func() bool { return p.Ended() })
		if err := p.Err(); err != nil || strings.Contains(p.Output(), "cut off") {
			t.Errorf("the daemon ended: %v\n%s", err, p.Output())
		}
		if t.Failed() {
			return
		}
	}
	a.start(t) // those that wait now are served too
	until := delivered.Load() + 50
	miltertest.Eventually(t, "mail is delivered", func() bool { return delivered.Load() >= until || t.Failed() })
}

// TestStartsWithoutAnything starts a daemon that finds neither a name server, nor its store, nor the Syslog: it serves, and defers
// or accepts what it cannot check, as it is told to.
func TestStartsWithoutAnything(t *testing.T) {
	t.Parallel()
	manager, address := newSystemd(t)
	nobody, err := net.Listen("tcp", miltertest.Loopback()+":0") // who does not answer
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	c := daemontest.Config{Listen: unused, DNS: nobody.Addr().String(), Syslog: "off", Profile: "strict"}
	c.Extra = fmt.Sprintf("budget: 2s\nstore: {driver: redis, url: \"redis://%s\"}\nchecks: {dnsbl: {zones: [{zone: bl.test, codes: [127.0.0.2]}]}}\n", nobody.Addr())
	a := newActivation(t, c.YAML(), "NOTIFY_SOCKET="+address)
	daemontest.Binary(t) // builds it before the time counts
	began := time.Now()
	p := a.start(t)
	manager.await(t, "READY=1")
	t.Logf("ready after %v", time.Since(began))
	r, err := (&daemontest.Daemon{Listener: a.listener}).Mail(daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test")
	if err != nil || r != "" && !strings.HasPrefix(r, "4") {
		t.Errorf("got %q, %v", r, err)
	}
	p.Signal(t, syscall.SIGTERM)
	miltertest.Eventually(t, "the daemon ends", func() bool { return p.Ended() })
}
