// Package milter connects a checks.Pipeline to an MTA by the milter protocol: callbacks of go-milter fill a
// checks.Session, and a checks.Reply becomes the response. The package also does what go-milter leaves to its caller:
// it negotiates by what the MTA offers, sets deadlines, limits the number of connections, and drains them at shutdown.
//
// Server accepts connections. A conn splits the stream into packets, a session has the callbacks. Begin to read at
// Server.Serve.
package milter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	gomilter "github.com/emersion/go-milter"
	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// Journal receives all decisions. Its methods must not block, as the MTA waits. A panic in one is logged, and changes no reply.
type Journal interface {
	// Decided is called for every decision, including those without an outcome.
	Decided(r *checks.Request, d checks.Decision)
	// Accepted is called at the end of each accepted message.
	Accepted(r *checks.Request)
}

// Server serves milter connections. The fields are set before the first call of Serve. The methods are safe for concurrent
// use.
type Server struct {
	Pipeline       func() *checks.Pipeline // called once per connection
	Journal        Journal
	Log            *logrus.Entry
	NewID          func() string    // returns a new session id
	Now            func() time.Time // nil: time.Now
	MaxConnections int              // open connections of all listeners; those beyond get a 4yz reply; 0: no limit
	MaxMemory      int64            // bytes that the sessions and Waiting hold, after which new messages get a 4yz reply; 0: no limit
	Waiting        func() int64     // bytes that wait to be written, such as records; nil: none

	packetTimeout, drainIdle time.Duration // set by tests; 0: the default

	mu        sync.Mutex
	listeners []net.Listener
	conns     map[*conn]struct{}
	draining  atomic.Bool
	lastBegin time.Time      // when draining: no transaction begins later
	serving   sync.WaitGroup // calls of Serve
	ended     sync.WaitGroup // admitted connections that are not closed
	held      atomic.Int64   // bytes that all sessions hold
	proxy     proxyDetector

	tooManyConns, tooManyRcpts, tooMuchMemory onceAMinute // for what is logged about a limit

	noChanges, noQuarantine sync.Once // for warnings about what the MTA does not offer
}

// ErrServerClosed is the error of Serve after Shutdown.
var ErrServerClosed = errors.New("milter: server closed")

// abandonAfter is how long Shutdown waits for the checks of connections that it closed. They end in milliseconds, unless they ignore
// their context. With half, a loaded machine leaves checks running that would have ended.
const abandonAfter = 2 * time.Second

// maxAcceptDelay is the longest wait after a failed Accept, such as for lack of file descriptors.
const maxAcceptDelay = time.Second

// Serve accepts connections until Shutdown. It tries again after temporary errors, and closes the listener at its end.
func (srv *Server) Serve(ln net.Listener) error {
	defer ln.Close()
	if !srv.track(ln) {
		return ErrServerClosed
	}
	defer srv.serving.Done()
	var delay time.Duration
	for {
		c, err := ln.Accept()
		switch {
		case err == nil:
			delay = 0
			srv.open(c)
		case srv.draining.Load():
			return ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			delay = min(max(2*delay, 5*time.Millisecond), maxAcceptDelay)
			srv.Log.WithError(err).WithField("listener", ln.Addr().String()).Error("accept failed")
			time.Sleep(delay)
		}
	}
}

func (srv *Server) track(ln net.Listener) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.draining.Load() {
		return false
	}
	srv.listeners = append(srv.listeners, ln)
	srv.serving.Add(1)
	return true
}

// open serves a connection, or closes it if MaxOpen connections are open already. Each has a go-milter server of its own: NewMilter of a
// shared one would not know which connection it is called for.
func (srv *Server) open(nc net.Conn) {
	c := newConn(nc, srv)
	if !srv.admit(c) {
		nc.Close()
		c.release()
		return
	}
	c.session = newSession(srv, c, srv.Pipeline())
	one := &gomilter.Server{NewMilter: func() gomilter.Milter { return c.session }}
	_ = one.Serve(&oneShot{conn: c}) // returns at once: go-milter serves the connection in a goroutine
}

// MaxOpen returns how many connections a Server with MaxConnections = limit keeps open. Those beyond limit receive a
// 4yz reply; a connection beyond MaxOpen is closed at once.
func MaxOpen(limit int) int { return limit + limit/8 + 8 }

// admit counts a connection, and reports whether it may stay open.
func (srv *Server) admit(c *conn) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	n, limit := len(srv.conns), srv.MaxConnections
	if limit > 0 && n >= MaxOpen(limit) {
		return false
	}
	if limit > 0 && n >= limit {
		c.full = true
		if srv.tooManyConns.allows(srv.now()) {
			srv.Log.WithField("max_connections", limit).Error("too many connections: deferring mail")
		}
	}
	if srv.conns == nil {
		srv.conns = make(map[*conn]struct{})
	}
	srv.conns[c] = struct{}{}
	srv.ended.Add(1)
	return true
}

// oneShot is a listener with one connection.
type oneShot struct{ conn net.Conn }

func (l *oneShot) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	return nil, io.EOF
}
func (l *oneShot) Close() error   { return nil }
func (l *oneShot) Addr() net.Addr { return nil }

// closed removes an admitted connection.
func (srv *Server) closed(c *conn) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.conns, c)
	srv.ended.Done()
}

// Connections returns the number of open connections.
func (srv *Server) Connections() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return len(srv.conns)
}

// Warnings returns what the operator should know about the connection to the MTA, one sentence each.
func (srv *Server) Warnings() []string {
	var list []string
	if w := srv.proxy.warning(); w != "" {
		list = append(list, w)
	}
	if srv.memoryFull() {
		list = append(list, fmt.Sprintf("the limit memory is reached, at %d MiB: new messages get 452 4.3.1", srv.MaxMemory>>20))
	}
	return list
}

// Shutdown stops listening, closes connections that have no open mail transaction once they are idle for defaultDrainIdle,
// waits for the others until ctx is done, and closes the rest. It returns ctx.Err() if it closed some. After half of the
// time until the deadline of ctx, no transaction begins. The checks of a closed connection have abandonAfter to end. A check that
// ignores its context is left running, as it would keep the daemon from stopping.
func (srv *Server) Shutdown(ctx context.Context) error {
	srv.mu.Lock()
	if !srv.draining.Load() {
		srv.lastBegin = time.Now().Add(defaultDrainIdle)
		if end, ok := ctx.Deadline(); ok {
			srv.lastBegin = time.Now().Add(time.Until(end) / 2)
		}
		srv.draining.Store(true)
	}
	for _, ln := range srv.listeners {
		ln.Close()
	}
	srv.mu.Unlock()
	srv.serving.Wait() // until each accepted connection is in srv.conns
	srv.mu.Lock()
	for c := range srv.conns {
		c.drain()
	}
	srv.mu.Unlock()
	done := make(chan struct{})
	go func() {
		srv.ended.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	srv.mu.Lock()
	for c := range srv.conns {
		c.Conn.Close()
		c.cancel()
	}
	srv.mu.Unlock()
	select {
	case <-done:
	case <-time.After(abandonAfter):
		srv.Log.Error("a check ignores that its connection was closed: it is left running")
	}
	return ctx.Err()
}

func (srv *Server) now() time.Time {
	if srv.Now != nil {
		return srv.Now()
	}
	return time.Now()
}
