package resolver

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// server is one recursive server with its UDP sockets.
type server struct {
	addr         netip.AddrPort
	name         string // addr as text
	elapsed      func() time.Duration
	stats        *counters
	demotedUntil atomic.Int64 // nanoseconds of elapsed; 0: not demoted
	ednsLost     atomic.Int32 // queries that were answered only without EDNS, one after the other
	plainUntil   atomic.Int64 // nanoseconds of elapsed until which queries have no EDNS
	denials      denials

	mu      sync.Mutex
	sockets [socketsPerServer]*socket // that accept queries; nil: not open
	readers sync.WaitGroup            // goroutines of all sockets, retired ones included
}

const (
	// A server that answered maxEDNSLost queries only without EDNS is asked without for plainFor. With a limit of 1, one lost
	// packet would make all longer answers come over TCP; with twice as many, more mail waits for a time-out.
	maxEDNSLost = 3
	plainFor    = 10 * time.Minute
)

// takesEDNS reports whether queries to the server have EDNS.
func (s *server) takesEDNS() bool { return int64(s.elapsed()) >= s.plainUntil.Load() }

// noteEDNS counts an answer to a query with or without EDNS. lost is set if a query with EDNS over UDP timed out before.
func (s *server) noteEDNS(edns, lost bool) {
	switch {
	case edns:
		s.ednsLost.Store(0)
	case lost && s.ednsLost.Add(1) >= maxEDNSLost:
		s.ednsLost.Store(0)
		s.plainUntil.Store(int64(s.elapsed() + plainFor))
	}
}

// udp sends a query and waits for the answer. The error is errTimeout if the time is over or ctx is done,
// errUnreachable for a network error, or that of query.parse.
func (s *server) udp(ctx context.Context, q *query, timeout time.Duration) (*dns.Msg, error) {
	c := &call{query: q, reply: make(chan reply, 1)}
	k, err := s.register(c)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	if _, err := k.conn.Write(c.packet); err != nil {
		s.fail(k, err)
	}
	timer := time.NewTimer(timeout) // a context costs more, see BenchmarkCold
	defer timer.Stop()
	select {
	case r := <-c.reply:
		return r.message, r.err
	case <-timer.C:
	case <-ctx.Done():
	}
	k.forget(c)
	return nil, errTimeout
}

// register adds a call to a random socket, which it opens or replaces if necessary.
func (s *server) register(c *call) (*socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := mathrand.IntN(socketsPerServer)
	if k := s.sockets[i]; k != nil {
		if s.elapsed()-k.opened < maxAge && k.add(c) {
			return k, nil
		}
		k.retire()
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.addr))
	if err != nil {
		s.sockets[i] = nil
		return nil, err
	}
	_ = conn.SetReadBuffer(readBuffer) // as far as the system allows
	k := &socket{conn: conn, opened: s.elapsed(), stats: s.stats, waiting: map[uint16]*call{}}
	k.add(c)
	s.sockets[i] = k
	s.readers.Go(func() { s.fail(k, k.read()) })
	return k, nil
}

// fail ends all calls of a socket with a network error. If nothing listens at the port of the server, the calls of the
// other sockets end too: the kernel reports it only to the socket that sent last.
func (s *server) fail(k *socket, err error) {
	k.fail(err)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.sockets {
		if other != nil {
			other.fail(err)
		}
	}
}

// close retires all sockets and waits until they are closed.
func (s *server) close() {
	s.mu.Lock()
	for _, k := range s.sockets {
		if k != nil {
			k.retire()
		}
	}
	s.mu.Unlock()
	s.readers.Wait()
}
