package sockets

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus"

	"milterd/cmd/milterd/internal/config"
	"milterd/milter/log"
)

// TestCheck tests which sockets this machine cannot have.
func TestCheck(t *testing.T) {
	t.Parallel()
	lookup := func(_ context.Context, host string) ([]string, error) {
		switch host {
		case "none.example":
			return nil, &net.DNSError{Name: host, IsNotFound: true}
		case "late.example":
			return nil, &net.DNSError{Name: host, IsTimeout: true}
		}
		return []string{"192.0.2.1"}, nil
	}
	for _, c := range []struct{ name, listen, group, want string }{
		{name: "a name without an address", listen: "inet:1@none.example", want: `the name "none.example" has no address here; write an address`},
		{name: "a name of which the name server says nothing", listen: "inet:1@late.example"},
		{name: "a name", listen: "inet:1@mx.example"},
		{name: "no group", listen: "unix:/run/m.sock"},
		{name: "an unknown group", listen: "unix:/run/m.sock", group: "no-such-group", want: `there is no group "no-such-group" on this machine; write one that has the mail server as a member`},
		{name: "a number below zero", listen: "unix:/run/m.sock", group: "-1", want: `there is no group "-1" on this machine; write one that has the mail server as a member`},
		{name: "a number", listen: "unix:/run/m.sock", group: "0"},
	} {
		l, err := config.ParseListener(c.listen)
		if err != nil {
			t.Fatal(err)
		}
		l.Group = c.group
		got := ""
		if err := check(t.Context(), l, lookup); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestOpenNamesPlace tests that the error of a socket names its place in the configuration, and that of a default one is a warning.
func TestOpenNamesPlace(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "none")
	l := config.Listener{Network: "unix", Address: folder + "/m.sock", Given: true}
	place := func(config.Listener) config.Problem {
		return config.Problem{File: "milterd.yaml", Line: 3, Col: 9, Path: "listen"}
	}
	want := "milterd.yaml:3:9: listen: cannot listen on unix:" + folder + "/m.sock: " + noFolder
	if _, err := Open([]config.Listener{l}, place, log.Discard().Logger); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if got := WithoutFolder(l); got != noFolder {
		t.Errorf("folder that does not exist: %q", got)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, l.Address = range []string{file + "/m.sock", file + "/folder/m.sock"} {
		if got := WithoutFolder(l); got != belowFile {
			t.Errorf("%s: %q", l.Address, got)
		}
	}
	l.Address = "/run/milterd/m.sock"
	if got := WithoutFolder(l); got != "" {
		t.Errorf("folder of the unit: %q", got)
	}
}

// TestLongPath tests that the longest path that the configuration takes can be opened.
func TestLongPath(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "") // shorter than t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path, tested := dir+"/", false
	for {
		path += "x"
		w, err := config.ParseListener("unix:" + path)
		if err != nil {
			break
		}
		tested = true
		ln, err := Listen(w)
		if err != nil {
			t.Fatalf("%d bytes: %v", len(path), err)
		}
		closeAll([]net.Listener{ln})
	}
	if !tested {
		t.Errorf("%s is too long", path)
	}
}

// TestInUse tests what is said of a socket that is there already. The superuser may connect to each, hence no real one.
func TestInUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"open", nil, "another program listens on /run/m.sock"},
		{"left by a killed daemon", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, ""},
		{"of another user", &net.OpError{Op: "dial", Err: syscall.EACCES}, "/run/m.sock is the socket of another user; remove it"},
		{"other error", &net.OpError{Op: "dial", Net: "unix", Err: syscall.EMFILE}, "dial unix: too many open files"},
	} {
		got := ""
		if err := inUse("/run/m.sock", c.err); err != nil {
			got = Fault(err)
		}
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestFault tests that an error has no system call, and what to do.
func TestFault(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, belowFile := Listen(config.Listener{Network: "unix", Address: file + "/m.sock"})
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"below a file", belowFile, "a part of the path is a file, not a folder; correct the path"},
		{"too many files", &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}, "too many open files"},
		{"a path", &os.PathError{Op: "lstat", Path: "/run/m.sock", Err: syscall.EIO}, "/run/m.sock: input/output error"},
		{"a group of others", chownFault("postfix", &os.PathError{Op: "chown", Path: "/run/m.sock", Err: syscall.EPERM}),
			`the daemon may not give the socket to the group "postfix", as it is not a member; write SupplementaryGroups=postfix`},
	} {
		if got := Fault(c.err); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestUnixSocket tests mode and group of a unix socket, and that a dead socket is replaced and other files are not.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/m.sock"
	w := config.Listener{Network: "unix", Address: path, Mode: 0o640, Group: strconv.Itoa(os.Getgid()), Given: true}
	ln, err := Listen(w)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got %v, %v", info, err)
	}
	if _, err := Listen(w); err == nil || !strings.Contains(err.Error(), "another program listens") {
		t.Errorf("second listener: %v", err)
	}
	// A dead socket, as after kill -9.
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	ln, err = Listen(w)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	ln.Close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("socket after Close: %v", err)
	}
	next, err := Listen(w)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close() // a second time, as the server does
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket of the next daemon is gone: %v", err)
	}
	next.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Listen(w)
	if text, errRead := os.ReadFile(path); err == nil || errRead != nil || string(text) != "precious" {
		t.Errorf("file in place of the socket: %v, %v", err, errRead)
	}
}

// TestUnused tests which configured sockets are not used when systemd passes others.
func TestUnused(t *testing.T) {
	t.Parallel()
	passed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	used := config.Listener{Network: "tcp4", Address: passed.Addr().String(), Given: true}
	other := config.Listener{Network: "unix", Address: "/run/m.sock", Given: true}
	byDefault := config.Listener{Network: "tcp4", Address: "127.0.0.1:1"}
	got := unused([]config.Listener{used, other, byDefault}, []net.Listener{passed})
	if len(got) != 1 || got[0] != other {
		t.Errorf("unused: %v, want %v", got, other)
	}
}

// TestPassedDatagram tests the error for a descriptor of systemd that is not a stream socket. The test calls Open in a process of its own,
// whose first descriptor after standard error is a datagram socket.
func TestPassedDatagram(t *testing.T) {
	if os.Getenv("LISTEN_FDS") != "" {
		t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		_, err := Open(nil, nil, logrus.New())
		fmt.Println("Open:", err)
		return
	}
	t.Parallel()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	file, err := conn.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestPassedDatagram$")
	cmd.Env, cmd.ExtraFiles = append(os.Environ(), "LISTEN_FDS=1"), []*os.File{file}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Open: sockets passed by systemd: number 1 is not a stream socket") {
		t.Errorf("%v: %s", err, out)
	}
}
