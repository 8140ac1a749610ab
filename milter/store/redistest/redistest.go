// Package redistest runs redis-server for tests, with a proxy in front of it that can simulate failures of the network.
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

// Server is a redis-server process. It may be used by one goroutine at a time.
type Server struct {
	Socket string // path of its unix socket

	t    testing.TB
	args []string
	cmd  *exec.Cmd
}

// startTimeout is the time that a server has to start.
const startTimeout = time.Minute

// Start starts redis-server with additional arguments, on a unix socket in a folder of its own, without persistence. It
// stops at the end of the test. The test is skipped unless MILTERD_TEST_REAL=1 says that everything is installed. Then a missing
// redis-server fails it.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if os.Getenv("MILTERD_TEST_REAL") != "1" {
		t.Skip("needs redis-server: run `make test`, or .ci/install and set MILTERD_TEST_REAL=1")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("MILTERD_TEST_REAL=1, and there is no redis-server: run .ci/install")
	}
	// Not t.TempDir: its path may be too long for a socket.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Socket: filepath.Join(dir, "s"), t: t, args: append([]string{
		"--port", "0", "--unixsocket", filepath.Join(dir, "s"), "--dir", dir, "--save", "", "--daemonize", "no",
	}, args...)}
	t.Cleanup(func() {
		s.Stop()
		os.RemoveAll(dir)
	})
	s.Start()
	return s
}

// URL returns the address of the server for store.Config.
func (s *Server) URL() string { return "unix://" + s.Socket }

// PID returns the process ID of a running server.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Start starts a stopped server and waits until it accepts connections.
func (s *Server) Start() {
	s.t.Helper()
	cmd := exec.Command("redis-server", s.args...)
	// Kill it with a test that is killed.
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
		var output strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			output.WriteString(lines.Text() + "\n")
			if strings.Contains(strings.ToLower(lines.Text()), "ready to accept connections") {
				ready <- ""
			}
		}
		ready <- output.String()
	}()
	select {
	case output := <-ready:
		if output != "" {
			s.t.Fatalf("redis-server does not start:\n%s", output)
		}
	case <-time.After(startTimeout):
		s.t.Fatal("redis-server does not start")
	}
}

// Stop kills the server and waits for its end. It may be called more than once.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Freeze suspends the server until Thaw: its connections stay open without answers.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw resumes the server after Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}
