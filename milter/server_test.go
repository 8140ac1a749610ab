package milter

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"
	"github.com/sirupsen/logrus"
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
	eventually(t, "the connections end", func() bool { return srv.Connections() == 1 })
	four := dial(t, address)
	if r := four.must(four.Connect("x", client, nil)); r.Refused() {
		t.Error("refused though there is room again")
	}
}

// TestFarTooManyConnections shows that a connection closed at once returns its buffer to the pool.
func TestFarTooManyConnections(t *testing.T) { // not parallel: it counts the buffers of all tests
	log := logrus.New()
	log.SetOutput(io.Discard)
	srv := &Server{MaxConnections: 1, Log: logrus.NewEntry(log)}
	for range MaxOpen(srv.MaxConnections) {
		srv.admit(&conn{})
	}
	made := 0
	fresh := readers.New
	readers.New = func() any { made++; return fresh() }
	defer func() { readers.New = fresh }()
	runtime.GC() // a pool is empty after two collections
	runtime.GC()
	const n = 400
	for range n {
		ours, theirs := net.Pipe()
		srv.open(theirs)
		if _, err := ours.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("it is not closed: %v", err)
		}
	}
	// With the race detector a pool drops one of four buffers on purpose.
	if made > n/2 {
		t.Errorf("%d connections took %d new buffers", n, made)
	}
}

func TestSlowPackets(t *testing.T) {
	t.Parallel()
	address, srv, _ := start(t, func(s *Server) { s.PacketTimeout = 20 * time.Millisecond }, accept)
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
	eventually(t, "the server has only the good connection", func() bool { return srv.Connections() == 1 })
}
