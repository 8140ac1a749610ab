package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/miltertest"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// runWith runs a command line with a standard input. It returns the exit status and what the command prints.
func runWith(t *testing.T, in io.Reader, args ...string) (code int, out, errs string) {
	t.Helper()
	root := newRoot(defaultConfigFile)
	root.SetIn(in)
	var stdout, stderr bytes.Buffer
	code = execute(t.Context(), root, args, &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// runLine is runWith without an input.
func runLine(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	return runWith(t, nil, args...)
}

// printed returns what a command prints.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := runLine(t, args...)
	if code != 0 {
		t.Fatalf("milterd %q: exit status %d, %s", args, code, errs)
	}
	return out
}

// parseConfig parses a configuration.
func parseConfig(t testing.TB, text string) *config.Config {
	t.Helper()
	cfg, problems := config.Parse("test", []byte(text), all.Checks)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// serveProgram starts milterd as a program with a configuration file.
func serveProgram(t *testing.T, file string) *miltertest.Process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", "-c", file)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return miltertest.StartProcess(t, cmd)
}

// freePorts returns ports of loopback on which nobody listens.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// requirePrograms skips the test unless MILTERD_TEST_REAL=1 says that everything is installed. Then a missing program fails it.
func requirePrograms(t *testing.T, names ...string) {
	t.Helper()
	if os.Getenv("MILTERD_TEST_REAL") != "1" {
		t.Skipf("needs %v: run `make test`, or .ci/install and set MILTERD_TEST_REAL=1", names)
	}
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v: run .ci/install", err)
		}
	}
}
