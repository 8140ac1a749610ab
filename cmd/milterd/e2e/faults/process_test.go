package faults

import (
	"cmp"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// launch runs a daemon with a configuration file; empty: a good one. The daemon writes to stderr, or to its output if that is nil.
func launch(t *testing.T, file string, stderr *os.File) *daemontest.Daemon {
	t.Helper()
	d := daemontest.New(t, daemontest.Config{DNS: dnstest.Start(t, daemontest.World).Addr, Profile: "strict"})
	d.File = cmp.Or(file, d.File)
	cmd := exec.Command(daemontest.Binary(t), "serve", "-c", d.File)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if stderr != nil {
		cmd.Stderr = stderr
	}
	d.Process = miltertest.StartProcess(t, cmd)
	return d
}

// connect opens and closes connections, each of which the daemon logs.
func connect(t *testing.T, d *daemontest.Daemon) {
	t.Helper()
	network, addr := miltertest.SplitListener(d.Listener)
	for range 20 {
		c, err := net.Dial(network, addr)
		if err != nil {
			t.Fatalf("%v\n%s", err, d.Output())
		}
		_, _ = c.Write([]byte("\x00\x00\x00\x01?"))
		_ = c.Close()
	}
}

// stopsSoon stops a daemon that has no message in flight.
func stopsSoon(t *testing.T, d *daemontest.Daemon) {
	t.Helper()
	const drain = 15 * time.Second // a daemon waits so long for messages in flight
	began := time.Now()
	d.Stop(t)
	if took := time.Since(began); took >= drain {
		t.Errorf("the daemon stopped after %s", took)
	}
	if err := d.Err(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
}

// TestStandardErrorEnds tests that the daemon survives the reader of its standard error.
func TestStandardErrorEnds(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d := launch(t, "", w)
	_ = w.Close()
	d.Await(t)
	_ = r.Close()
	connect(t, d)
	d.Signal(t, syscall.SIGHUP) // which is logged
	connect(t, d)
	stopsSoon(t, d)
}

// TestStandardErrorIsNotRead tests that the daemon starts, serves and stops while nobody reads its standard error.
func TestStandardErrorIsNotRead(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fill(t, w)
	d := launch(t, "", w)
	_ = w.Close()
	d.Await(t)
	connect(t, d)
	stopsSoon(t, d)
}

// fill writes to a pipe until it takes no more.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	fd := int(w.Fd()) // sets blocking mode
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{4096, 1} {
		for {
			if _, err := syscall.Write(fd, make([]byte, size)); err != nil {
				break
			}
		}
	}
	if err := syscall.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
}

// TestConfigurationHangs tests a configuration file that is never read to its end, at a start and at a reload.
func TestConfigurationHangs(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("start", func(t *testing.T) {
		t.Parallel()
		d := launch(t, pipe, nil)
		// The daemon opens the pipe when it has set its signals up.
		var w *os.File
		miltertest.Eventually(t, "the daemon opens its configuration", func() (ok bool) {
			var err error
			w, err = os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
			return err == nil
		})
		defer w.Close()
		stopsSoon(t, d)
	})
	t.Run("reload", func(t *testing.T) {
		t.Parallel()
		d := launch(t, "", nil)
		d.Await(t)
		if err := os.Remove(d.File); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(d.File, 0o600); err != nil {
			t.Fatal(err)
		}
		d.Signal(t, syscall.SIGHUP)
		connect(t, d)
		stopsSoon(t, d)
	})
}
