package dkim

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"milterd/milter/miltertest"
)

// program returns the path of a program of OpenDKIM or OpenDMARC.
func program(t *testing.T, name string) string {
	t.Helper()
	path := "/usr/sbin/" + name
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run .ci/install", err)
	}
	return path
}

// startFilter starts opendkim or opendmarc with a configuration until the end of the test. It returns the path of its socket.
func startFilter(t *testing.T, name, config string) string {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	file := write(t, dir, "conf", config+"Socket local:"+socket+"\n")
	option := map[string]string{"opendkim": "-x", "opendmarc": "-c"}[name]
	cmd := exec.CommandContext(t.Context(), program(t, name), "-f", option, file)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	miltertest.Eventually(t, name+" listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return socket
}

// write writes a file and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// filter is a connection to a filter, for one session.
type filter struct {
	t *testing.T
	*miltertest.Conn
}

// dial begins a session with a filter, until the end of the test.
func dial(t *testing.T, socket string) filter {
	t.Helper()
	c, err := miltertest.Dial("unix", socket, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	f := filter{t: t, Conn: c}
	f.accepted(c.Connect("localhost", netip.MustParseAddrPort("127.0.0.1:1025"), map[string]string{}))
	f.accepted(c.Helo("localhost", map[string]string{}))
	return f
}

// accepted fails the test if the filter refuses something.
func (f filter) accepted(r miltertest.Response, err error) miltertest.Response {
	f.t.Helper()
	if err != nil || r.Refused() {
		f.t.Fatalf("the filter refuses: %+v, %v", r, err)
	}
	return r
}

// send passes a message through the filter and returns the response to its end.
func (f filter) send(sender, message string) miltertest.Response {
	f.t.Helper()
	id := map[string]string{"i": "Q1"}
	fields, body := split(message)
	f.accepted(f.Mail("<"+sender+">", map[string]string{}))
	f.accepted(f.Rcpt("<user@example.org>", id))
	for _, field := range fields {
		f.accepted(f.Header(field.Name, field.Value))
	}
	f.accepted(f.EndOfHeader(id))
	f.accepted(f.WholeBody(body))
	return f.accepted(f.EndOfMessage(id))
}
