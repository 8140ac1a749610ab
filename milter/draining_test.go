package milter

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gomilter "github.com/emersion/go-milter"

	"milterd/milter/miltertest"
)

// pipes is a listener without sockets, for tests in a bubble of testing/synctest.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// TestDraining shuts the server down within a minute while a message is in flight. No transaction begins after half of that.
func TestDraining(t *testing.T) {
	t.Parallel()
	const within, idle = time.Minute, 2 * time.Second
	for _, c := range []struct {
		name     string
		wait     time.Duration // until the message ends
		messages int           // of the client, including this one
		pause    time.Duration // between them; 0: all come in one write
		accepted int
		ends     time.Duration // the last connection
	}{
		{"then the client is silent", 10 * time.Second, 1, 0, 1, 10*time.Second + idle},
		{"then it is silent, shortly before half of the time", 29 * time.Second, 1, 0, 1, 30 * time.Second},
		{"the message ends after half of the time", 40 * time.Second, 1, 0, 1, 40 * time.Second},
		{"the next one comes in time", 10 * time.Second, 2, time.Second, 2, 11*time.Second + idle},
		{"the next one takes too long to come", 10 * time.Second, 2, idle + time.Second, 1, 10*time.Second + idle},
		{"it has more than there is time for", 10*time.Second + 500*time.Millisecond, 100, time.Second, 20, 30 * time.Second},
		{"the next one comes with the end, before half of the time", 29 * time.Second, 2, 0, 2, 30 * time.Second},
		{"the next one comes with the end, after half of the time", 31 * time.Second, 2, 0, 1, 31 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ln := newPipes()
				srv, journal := startOn(t, ln, func(srv *Server) { srv.drainIdle = idle }, scripted(accept))
				d := dialOn(t, ln.dial(), miltertest.AllProtocol)
				d.hello()
				d.must(d.Mail("<a@example.net>", nil))
				d.rcpt("<u@example.org>")
				ctx, cancel := context.WithTimeout(t.Context(), within)
				defer cancel()
				began, down := time.Now(), make(chan error)
				var ended time.Duration
				go func() {
					err := srv.Shutdown(ctx)
					ended = time.Since(began)
					down <- err
				}()
				time.Sleep(c.wait)
				d.messages(c.messages, c.pause)
				if err := <-down; err != nil {
					t.Error(err)
				}
				if n := len(journal.accepted); n != c.accepted || ended != c.ends {
					t.Errorf("%d messages were accepted, want %d; the end came after %v, want %v", n, c.accepted, ended, c.ends)
				}
			})
		})
	}
}

// messages ends the message in flight and sends others after it, until the server closes the connection.
func (d dialer) messages(n int, pause time.Duration) {
	answers := 0
	for i := range n {
		if i > 0 {
			d.Send(gomilter.CodeMail, []byte("<a@example.net>\x00"))
			d.Send(gomilter.CodeRcpt, []byte("<u@example.org>\x00"))
			answers++
		}
		d.Send(gomilter.CodeEOH, nil)
		d.Send(gomilter.CodeEOB, nil)
		answers++
		if pause == 0 && i < n-1 {
			continue
		}
		for ; answers > 0; answers-- {
			if _, _, err := d.Receive(); err != nil {
				return
			}
		}
		time.Sleep(pause)
	}
}
