// Package systemd tests socket activation, notifications, and restarts under load.
package systemd

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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

// manager receives the notifications that milterd sends to systemd, sd_notify(3).
type manager struct{ conn *net.UnixConn }

func newManager(t *testing.T) (m manager, address string) {
	t.Helper()
	address = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return manager{conn}, address
}

// await reads notifications until one has the state.
func (m manager) await(t *testing.T, state string) {
	t.Helper()
	buf := make([]byte, 4096)
	_ = m.conn.SetReadDeadline(time.Now().Add(miltertest.WaitTimeout))
	for {
		n, err := m.conn.Read(buf)
		if err != nil {
			t.Fatalf("%s: %v", state, err)
		}
		if strings.Contains(string(buf[:n]), state) {
			return
		}
	}
}

// activation is a socket unit: a listening socket that outlives the daemons to which it is passed.
type activation struct {
	listener string // as a configuration spells it
	socket   *os.File
	file     string // configuration file
	env      []string
}

// newActivation makes a socket for daemons with a configuration, whose own listener they do not use, and further
// variables of the environment.
func newActivation(t *testing.T, c daemontest.Config, env ...string) *activation {
	t.Helper()
	c.Listen, c.Syslog = []string{`"unix:/unused/milterd.sock"`}, "off"
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
	if err := os.WriteFile(a.file, []byte(c.YAML()), 0o644); err != nil {
		t.Fatal(err)
	}
	a.env = append(os.Environ(), append(env, "LISTEN_FDS=1", "HOME="+t.TempDir())...)
	return a
}

// start starts a daemon with the socket.
func (a *activation) start(t *testing.T) *miltertest.Process {
	t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, daemontest.Binary(t), "serve", "-c", a.file)
	cmd.ExtraFiles, cmd.Env = []*os.File{a.socket}, a.env // the socket is descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return miltertest.StartProcess(t, cmd)
}

// TestSystemd tests that a daemon uses the socket of its socket unit and sends the notifications that the units in the
// folder systemd rely on.
func TestSystemd(t *testing.T) {
	t.Parallel()
	m, address := newManager(t)
	c := daemontest.Config{DNS: dnstest.Start(t, daemontest.World).Addr, Profile: "safe"}
	a := newActivation(t, c, "NOTIFY_SOCKET="+address, "WATCHDOG_USEC=200000")
	p := a.start(t)

	m.await(t, "READY=1")
	m.await(t, "WATCHDOG=1")
	if out := p.Output(); !strings.Contains(out, "listen is not used") || !strings.Contains(out, "unix:/unused/milterd.sock") {
		t.Errorf("the log does not say that the configured socket is not used:\n%s", out)
	}
	client, err := a.daemon().Connect(daemontest.GoodClient)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Quit(); err != nil {
		t.Error(err)
	}
	p.Signal(t, syscall.SIGHUP)
	m.await(t, "RELOADING=1")
	m.await(t, "READY=1")
	p.Signal(t, syscall.SIGTERM)
	m.await(t, "STOPPING=1")
	miltertest.Eventually(t, "the daemon ends", p.Ended)
}

// daemon returns a Daemon to which a test can connect. It is not a process.
func (a *activation) daemon() *daemontest.Daemon { return &daemontest.Daemon{Listener: a.listener} }

// TestReloadDuringStart tests that SIGHUP does not end a daemon that waits for its name servers, and that it reloads later.
func TestReloadDuringStart(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	d := daemontest.New(t, daemontest.Config{
		DNS: silent.LocalAddr().String(), Profile: "safe",
		Extra: "checks: {dnsbl: {zones: [{zone: list.test, codes: [127.0.0.2]}]}}\n",
	})
	d.Launch(t)
	if _, _, err := silent.ReadFrom(make([]byte, 512)); err != nil { // the test of its DNS list
		t.Fatal(err)
	}
	d.Signal(t, syscall.SIGHUP)
	d.Await(t)
	miltertest.Eventually(t, "the daemon reloads", func() bool { return strings.Contains(d.Output(), "configuration reloaded") })
}

// TestRestartsUnderLoad restarts a daemon with a socket unit under load. No connection is refused or cut off before its
// session began, and sessions that have begun get to their end.
func TestRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	a := newActivation(t, daemontest.Config{
		DNS: dnstest.Start(t, daemontest.World).Addr, Profile: "strict", Actions: map[string]string{"first-contact": "off"},
		Extra: fmt.Sprintf("store: {driver: embedded, path: %q}\n", t.TempDir()),
	})
	var delivered atomic.Int64
	done := make(chan struct{})
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() { sendUntil(t, done, a.daemon(), &delivered) })
	}
	defer func() { close(done); senders.Wait() }()
	awaitMail := func() {
		until := delivered.Load() + 50
		miltertest.Eventually(t, "mail is delivered", func() bool { return delivered.Load() >= until || t.Failed() })
	}
	for range 5 {
		p := a.start(t)
		awaitMail()
		p.Signal(t, syscall.SIGTERM)
		miltertest.Eventually(t, "the daemon ends", p.Ended)
		if err := p.Err(); err != nil || strings.Contains(p.Output(), "cut off") {
			t.Errorf("the daemon ended: %v\n%s", err, p.Output())
		}
		if t.Failed() {
			return
		}
	}
	a.start(t) // serves the connections that wait
	awaitMail()
}

// sendUntil sends good mail, three messages on each connection, until done is closed.
func sendUntil(t *testing.T, done <-chan struct{}, d *daemontest.Daemon, delivered *atomic.Int64) {
	tick := time.NewTicker(5 * time.Millisecond) // between two commands of a client
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
			t.Errorf("no filter after %v: %v", time.Since(began), err)
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
			// On a loaded machine a client may be idle for longer than a daemon that stops waits.
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
}

// TestStartWithoutNetwork tests that a daemon serves although its name server and its store do not answer.
func TestStartWithoutNetwork(t *testing.T) {
	t.Parallel()
	m, address := newManager(t)
	silent, err := net.Listen("tcp", miltertest.Loopback()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := daemontest.Config{DNS: silent.Addr().String(), Profile: "strict"}
	c.Extra = fmt.Sprintf("budget: 2s\nstore: {driver: redis, url: \"redis://%s\"}\n", silent.Addr()) +
		"checks: {dnsbl: {zones: [{zone: bl.test, codes: [127.0.0.2]}]}}\n"
	a := newActivation(t, c, "NOTIFY_SOCKET="+address)
	daemontest.Binary(t) // builds it before the time counts
	began := time.Now()
	p := a.start(t)
	m.await(t, "READY=1")
	t.Logf("ready after %v", time.Since(began))
	r, err := a.daemon().Mail(daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test")
	if err != nil || r != "" && !strings.HasPrefix(r, "4") {
		t.Errorf("got %q, %v", r, err)
	}
	p.Signal(t, syscall.SIGTERM)
	miltertest.Eventually(t, "the daemon ends", p.Ended)
}
