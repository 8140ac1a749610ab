package main

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"milterd/cmd/milterd/internal/config"
	"milterd/milter"
)

// TestConnectionsOf tests the limit of connections for a limit of open files.
func TestConnectionsOf(t *testing.T) {
	t.Parallel()
	for files, want := range map[int]int{
		1 << 20:        931_172,
		10_000:         7_993,
		2 * spareFiles: 882,
		1024:           448,
		16:             1,
	} {
		got := connectionsOf(files)
		left := files - milter.MaxOpen(got)
		if got != want || got > 1 && left < min(spareFiles, files/2) {
			t.Errorf("%d files: %d connections, want %d; %d files left", files, got, want, left)
		}
	}
}

// TestUnixSocket tests mode and group of a unix socket, and that a dead socket is replaced and other files are not.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/m.sock"
	w := config.Listener{Network: "unix", Address: path, Mode: 0o640, Group: strconv.Itoa(os.Getgid()), Given: true}
	ln, err := listen(w)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got %v, %v", info, err)
	}
	if _, err := listen(w); err == nil || !strings.Contains(err.Error(), "another program listens") {
		t.Errorf("second listener: %v", err)
	}
	// A dead socket, as after kill -9.
	ln.(*unixListener).UnixListener.Close()
	ln, err = listen(w)
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
	next, err := listen(w)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close() // a second time, as the server does
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket of the next daemon is gone: %v", err)
	}
	next.Close()
	writeFile(t, path, "precious")
	if _, err := listen(w); err == nil || readFile(t, path) != "precious" {
		t.Errorf("file in place of the socket: %v", err)
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
