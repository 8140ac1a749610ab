// Package redistest starts a real Redis for a test, and a proxy in front of it that can fail as networks and servers do.
package redistest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a redis-server process, or none while it is stopped. It belongs to one goroutine.
type Server struct {
	Socket string // the path of its unix socket
	Dir    string // its folder, which outlives a Stop

	t    testing.TB
	args []string
	cmd  *exec.Cmd
}

// patient is how long a server may take to start or to end.
const patient = 20 * time.Second

// Start starts redis-server with further arguments, on a unix socket in a folder of its own, without saving anything. It
// ends with the test. Without the program the test is skipped, or fails if MILTERD_TEST_REAL is 1.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("MILTERD_TEST_REAL") == "1" {
			t.Fatal("MILTERD_TEST_REAL=1, and there is no redis-server: run .ci/install")
		}
		t.Skip("there is no redis-server; .ci/install installs it")
	}
	// Not the folder of the test, whose path may be too long for a socket.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Socket: filepath.Join(dir, "s"), Dir: dir, t: t, args: append([]string{
		"--port", "0", "--unixsocket", filepath.Join(dir, "s"), "--dir", dir, "--save", "", "--daemonize", "no",
	}, args...)}
	t.Cleanup(func() {
		s.Stop()
		os.RemoveAll(dir)
	})
	s.Start()
	return s
}

// URL is the address of the server.
func (s *Server) URL() string { return "unix://" + s.Socket }

// PID is the id of the process. There must be one.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Start starts a stopped server again, and waits until it can be asked.
func (s *Server) Start() {
	s.t.Helper()
	cmd := exec.Command("redis-server", s.args...)
	// It must not outlive a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd = cmd
	ready := make(chan string, 1)
	go func() {
		var said strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said.WriteString(lines.Text() + "\n")
			if strings.Contains(strings.ToLower(lines.Text()), "ready to accept connections") {
				ready <- ""
			}
		}
		ready <- said.String()
	}()
	select {
	case said := <-ready:
		if said != "" {
			s.t.Fatalf("redis-server does not start:\n%s", said)
		}
	case <-time.After(patient):
		s.t.Fatal("redis-server does not start")
	}
}

// Stop kills the server, and waits until it is gone. Stopping twice does nothing.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Freeze stops the server from running until Thaw: its connections stay, and nobody answers.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}
