package milter

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"
	"github.com/sirupsen/logrus"

	"milterd/milter/miltertest"
)

func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	address, srv, _ := start(t, func(s *Server) { s.MaxConnections = 2 }, accept)
	one, two := dial(t, address), dial(t, address)
	one.hello()
	two.hello()
	three := dial(t, address)
	r := three.must(three.Connect("x", client, nil))
	if len(r.Lines) != 1 || !strings.HasPrefix(r.Lines[0], "451 4.3.2 ") {
		t.Errorf("got %+v", r)
	}
	three.Quit()
	one.Quit()
	miltertest.Eventually(t, "the connections end", func() bool { return srv.Connections() == 1 })
	four := dial(t, address)
	if r := four.must(four.Connect("x", client, nil)); r.Refused() {
		t.Error("refused though there is room again")
	}
}

// TestFarTooManyConnections shows that a connection closed at once takes no buffer.
func TestFarTooManyConnections(t *testing.T) { // not parallel: it counts the buffers of all tests
	log := logrus.New()
	log.SetOutput(io.Discard)
	srv := &Server{MaxConnections: 1, Log: logrus.NewEntry(log)}
	for range MaxOpen(srv.MaxConnections) {
		srv.admit(&conn{})
	}
	made, fresh := 0, readers.New
	readers.New = func() any { made++; return fresh() }
	defer func() { readers.New = fresh }()
	runtime.GC() // a pool is empty after two collections
	runtime.GC()
	for range 400 {
		ours, theirs := net.Pipe()
		srv.open(theirs)
		if _, err := ours.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("it is not closed: %v", err)
		}
	}
	if made > 0 {
		t.Errorf("they took %d buffers", made)
	}
}

// TestIdleBuffers shows that a connection without a transaction holds no buffer.
func TestIdleBuffers(t *testing.T) { // not parallel: it measures the heap
	address, _, _ := start(t, nil, accept)
	const n = 200
	before := heap()
	var all []dialer
	for range n {
		c := dial(t, address)
		c.hello()
		c.must(c.Mail("<a@example.net>", nil))
		c.must(c.Rcpt("<u@example.org>", nil))
		c.must(c.EndOfHeader(nil))
		c.must(c.EndOfMessage(nil))
		all = append(all, c)
	}
	// The other side of the connection and what the journal keeps take 15 KiB with the rest.
	const most = 15<<10 + readBuffer/2
	if each := (int64(heap()) - int64(before)) / n; each > most {
		t.Errorf("%d bytes of heap for an idle connection, want %d at most", each, most)
	}
	runtime.KeepAlive(all)
}

func TestSlowPackets(t *testing.T) {
	t.Parallel()
	address, srv, _ := start(t, func(s *Server) { s.packetTimeout = 20 * time.Millisecond }, accept)
	for _, start := range []string{"\x00\x00", "\x00\x00\x00\x0dO"} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write([]byte(start))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%q was answered", start)
		}
	}
	d := dial(t, address)
	d.Send(gomilter.CodeHelo, []byte("x\x00"))
	miltertest.Eventually(t, "the server has only the good connection", func() bool { return srv.Connections() == 1 })
}

// TestSilentConnections tests that a connection without a byte, as of a port scan, leaves no warning in the log.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		wait  time.Duration // packetTimeout
		close func(*net.TCPConn, *Server)
	}{
		{"until the time-out", 20 * time.Millisecond, func(c *net.TCPConn, _ *Server) { c.Read(make([]byte, 1)) }},
		{"until it is closed", time.Hour, func(c *net.TCPConn, _ *Server) { c.Close() }},
		{"until it is reset", time.Hour, func(c *net.TCPConn, _ *Server) { c.SetLinger(0); c.Close() }},
		{"until the server drains", time.Hour, func(_ *net.TCPConn, srv *Server) { srv.Shutdown(context.Background()) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer // read after the last write
			address, srv, _ := start(t, func(srv *Server) {
				srv.packetTimeout, srv.drainIdle = test.wait, 20*time.Millisecond
				srv.Log.Logger.SetOutput(&log)
			}, accept)
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if test.wait == time.Hour {
				miltertest.Eventually(t, "it is open", func() bool { return srv.Connections() == 1 })
			}
			test.close(c.(*net.TCPConn), srv)
			miltertest.Eventually(t, "it is closed", func() bool { return srv.Connections() == 0 })
			if log.Len() > 0 {
				t.Errorf("logged %s", &log)
			}
		})
	}
}
