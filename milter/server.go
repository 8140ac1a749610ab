// Package milter connects a checks.Pipeline to an MTA by the milter protocol: callbacks of go-milter fill a
// checks.Session, a checks.Reply becomes the milter's response. Everything that go-milter leaves to its caller is done
// here: negotiation by what the MTA offers, deadlines, a limit on connections, draining.
package milter

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	gomilter "github.com/emersion/go-milter"
	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// Journal is told what was decided. It must not block: mail waits for it.
type Journal interface {
	// Decided is called for every decision, also those without an outcome.
	Decided(r *checks.Request, d checks.Decision)
	// Accepted is called at the end of a message that nothing was said against.
	Accepted(r *checks.Request)
}

// Server serves milter connections. Set the fields before the first call of Serve; the methods are safe for concurrent
// use.
type Server struct {
	Pipeline       func() *checks.Pipeline // asked once per connection, which keeps what it began with
	Journal        Journal
	Log            *logrus.Entry
	NewID          func() string    // a session id, different each time
	Now            func() time.Time // nil: time.Now
	MaxConnections int              // at a time over all listeners; what comes beyond gets a 4yz reply; 0: no limit

	// Timeouts. Zero means the default.
	IdleTimeout   time.Duration // between two packets; default 2 h: an MTA is silent while its client thinks
	PacketTimeout time.Duration // for one packet, and for the first to come; default 30 s
	WriteTimeout  time.Duration // for one response; default 30 s
	Linger        time.Duration // between two packets outside of a transaction while draining; default 2 s

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	draining  atomic.Bool
	lastCall  time.Time      // when draining: no transaction begins after that
	serving   sync.WaitGroup // calls of Serve
	ended     sync.WaitGroup // connections
	lastFull  time.Time      // when the limit on connections was last logged
}

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("milter: server closed")

// maxAcceptDelay is how long Serve waits at most after a failed Accept, as for want of file descriptors.
const maxAcceptDelay = time.Second

// Serve accepts connections until Shutdown, outliving temporary errors of the listener, which it closes.
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
	if srv.listeners == nil {
		srv.listeners = make(map[net.Listener]struct{})
	}
	srv.listeners[ln] = struct{}{}
	srv.serving.Add(1)
	return true
}

// open begins a connection, or closes it if there are far too many.
func (srv *Server) open(nc net.Conn) {
	c := newConn(nc, srv)
	if !srv.admit(c) {
		nc.Close()
		c.release()
		return
	}
	srv.serve(c)
}

// MostConnections is how many there are at most with a limit, as some beyond it are told to come again.
func MostConnections(limit int) int { return limit + limit/8 + 8 }

// admit tells whether there is room for one more connection.
func (srv *Server) admit(c *conn) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	n, limit := len(srv.conns), srv.MaxConnections
	if limit > 0 && n >= MostConnections(limit) {
		return false
	}
	if limit > 0 && n >= limit {
		c.full = true
		if now := srv.now(); now.Sub(srv.lastFull) > time.Minute {
			srv.lastFull = now
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

// closed is called once by each connection that was admitted.
func (srv *Server) closed(c *conn) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.conns, c)
	srv.ended.Done()
}

// Connections tells how many are open.
func (srv *Server) Connections() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return len(srv.conns)
}

// Shutdown stops listening, closes the connections that have no mail transaction open and are silent, waits for the others
// until ctx is done, and closes what is left. It returns ctx.Err() if it had to. When half of the time is over that ctx has,
// no transaction begins any more.
func (srv *Server) Shutdown(ctx context.Context) error {
	srv.mu.Lock()
	if !srv.draining.Load() {
		srv.lastCall = time.Now().Add(defaultLinger)
		if end, ok := ctx.Deadline(); ok {
			srv.lastCall = time.Now().Add(time.Until(end) / 2)
		}
		srv.draining.Store(true)
	}
	for ln := range srv.listeners {
		ln.Close()
	}
	srv.mu.Unlock()
	srv.serving.Wait() // what was accepted is served
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
	<-done
	return ctx.Err()
}

func (srv *Server) now() time.Time {
	if srv.Now != nil {
		return srv.Now()
	}
	return time.Now()
}

// symbols are the macros we ask for, by stage: a list replaces the MTA's own. An EOM list would need an EOH one beside
// it in Sendmail.
var symbols = []struct {
	stage gomilter.Stage
	names string
}{
	{gomilter.StageConnect, "j _ {daemon_name} {client_addr} {client_name} {client_ptr} {client_resolve} {client_port}"},
	{gomilter.StageHelo, "{tls_version}"},
	{gomilter.StageMailFrom, "i {auth_authen}"},
	{gomilter.StageRcptTo, "i {rcpt_mailer} {rcpt_host} {rcpt_addr}"},
	{gomilter.StageEOH, "i"},
}

// protocolVersion is what go-milter speaks. The MTAs honour all of the flags even so.
const protocolVersion = 2

// wanted is what we ask the MTA to leave out and to do, as far as it offers that: no body, and no wait for an answer
// that is always "continue". What is wrong with the header is said at the end of the message: the client, which sends the body in
// any case, cannot tell the difference, and the MTA need not wait twice.
func wanted(p *checks.Pipeline, full bool) gomilter.OptProtocol {
	if full {
		return gomilter.OptNoHelo | gomilter.OptNoMailFrom | gomilter.OptNoRcptTo | gomilter.OptNoHeaders |
			gomilter.OptNoEOH | gomilter.OptNoBody | gomilter.OptNoUnknown | gomilter.OptNoData
	}
	want := gomilter.OptNoBody | gomilter.OptNoUnknown | gomilter.OptNoData |
		gomilter.OptNoConnReply | gomilter.OptNoHeloReply | gomilter.OptNoHeaderReply | gomilter.OptNoEOHReply |
		gomilter.OptRcptRej | gomilter.OptHeaderLeadingSpace
	if !p.RepliesAt(checks.MailFrom) {
		want |= gomilter.OptNoMailReply
	}
	if !p.Needs(checks.EndOfHeader) && !p.TraceFields().Any() {
		want |= gomilter.OptNoHeaders | gomilter.OptNoEOH
	}
	return want
}

// serve hands the connection to a go-milter server of its own: only so does the session outlive a final response and learn of its
// end.
func (srv *Server) serve(c *conn) {
	s := newSession(srv, c, srv.Pipeline())
	c.begin = s.begin
	one := &gomilter.Server{NewMilter: func() gomilter.Milter { return s }}
	// Serve returns when the listener has nothing more to give; the connection goes on, in a goroutine.
	_ = one.Serve(&oneShot{conn: c})
}

// begin negotiates by the MTA's offer, which go-milter would not look at. With an error it has told the log.
func (s *session) begin() error {
	offer, err := s.conn.readOffer()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			s.srv.Log.WithError(err).WithField("mta", s.conn.RemoteAddr().String()).Warn("no milter negotiation")
		}
		return err
	}
	s.conn.onClose = s.closed
	s.protocol = wanted(s.pipeline, s.conn.full) & offer.protocol
	actions := gomilter.OptSetSymList
	if s.pipeline.TraceFields().Any() && offer.actions&traceActions == traceActions && !s.conn.full {
		actions |= traceActions
		s.traces = true
	}
	s.conn.macros = s.takeMacros
	if s.protocol&gomilter.OptNoHeaderReply != 0 {
		s.conn.field = s.keep
	}
	return s.negotiate(offer.actions & actions)
}

// offer is the MTA's side of the negotiation.
type offer struct {
	actions  gomilter.OptAction
	protocol gomilter.OptProtocol
}

// offerSize is how long the MTA's side of the negotiation is at least: length, command, version, actions, protocol.
const offerSize = 4 + 1 + 3*4

var errNoNegotiation = errors.New("milter: the first packet is no option negotiation")

func parseOffer(packet []byte) (offer, error) {
	length := uint32(0)
	if len(packet) >= offerSize {
		length = binary.BigEndian.Uint32(packet)
	}
	if length < offerSize-4 || length > maxPacket || packet[4] != byte(gomilter.CodeOptNeg) {
		return offer{}, errNoNegotiation
	}
	return offer{
		gomilter.OptAction(binary.BigEndian.Uint32(packet[9:])),
		gomilter.OptProtocol(binary.BigEndian.Uint32(packet[13:])),
	}, nil
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
