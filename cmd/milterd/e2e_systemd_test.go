package main_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/milter/mta"
	"milterd/milter/mtatest"
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

// TestSystemd hands the daemon a socket and listens to its notifications, as the units in the folder systemd want it.
func TestSystemd(t *testing.T) {
	t.Parallel()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	handed, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer handed.Close()
	manager, address := newSystemd(t)
	file := filepath.Join(t.TempDir(), "milterd.yaml")
	if err := os.WriteFile(file, []byte("hostname: mx.test\nlog: {syslog: off}\nlisten: unix:"+t.TempDir()+"/unused.sock\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, bin, "serve", "-c", file)
	cmd.ExtraFiles = []*os.File{handed} // descriptor 3
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "NOTIFY_SOCKET="+address, "WATCHDOG_USEC=200000", "HOME="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := mtatest.Start(t, cmd)

	manager.await(t, "READY=1")
	manager.await(t, "WATCHDOG=1")
	m, err := mta.Dial("tcp", ln.Addr().String(), 10*time.Second)
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
	mtatest.Eventually(t, "the daemon ends", func() bool {
		select {
		case <-p.Done():
			return true
		default:
			return false
		}
	})
}
