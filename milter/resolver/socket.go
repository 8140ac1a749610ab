package resolver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// Sockets are shared, because to open and to close one costs more than the query. They are given up after a while,
// because a port that never changes is no secret (RFC 5452 section 9.2). What is left for a forger to guess is a port of
// some 28000, for less than a minute, and 65536 IDs, for one packet of a question that nobody can make us repeat while
// it is in flight.
const (
	poolSize   = 4 // of a server; bursts of answers share as many receive buffers
	maxQueries = 1000
	maxAge     = 30 * time.Second

	// readBuffer is for the answers of a burst of sessions: one that finds no room is missed for the whole time of a query. The
	// kernel counts some 800 octets for each.
	readBuffer = 1 << 20

	// readSize is for servers that do not keep to udpSize. What is longer is cut by the kernel, and not taken.
	readSize = 4096
)

// call is a query that waits for its answer.
type call struct {
	*query
	reply chan reply // takes the one reply without blocking
}

type reply struct {
	message *dns.Msg
	err     error
}

// socket is a connected UDP socket with a goroutine that hands packets to the calls they fit. It closes itself when it
// is retired and nobody waits for it any more.
type socket struct {
	conn  net.Conn
	born  time.Duration // of server.elapsed
	stats *counters

	mu      sync.Mutex
	waiting map[uint16]*call // by ID
	sent    int              // queries
	retired bool             // takes no queries any more
}

// udp sends a query and waits for the answer. The error is ErrTimeout if the time is over or ctx is done, ErrUnreachable
// if the network says so, or that of query.parse.
func (s *server) udp(ctx context.Context, q *query, timeout time.Duration) (*dns.Msg, error) {
	c := &call{q, make(chan reply, 1)}
	k, err := s.socketFor(c)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if _, err := k.conn.Write(c.packet); err != nil {
		s.lost(k, err)
	}
	timer := time.NewTimer(timeout) // cheaper than a context
	defer timer.Stop()
	select {
	case r := <-c.reply:
		return r.message, r.err
	case <-timer.C:
	case <-ctx.Done():
	}
	k.forget(c)
	return nil, ErrTimeout
}

// socketFor registers a call at one of the sockets, chosen at random. It opens it if there is none, or one too old.
func (s *server) socketFor(c *call) (*socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := mathrand.IntN(poolSize)
	if k := s.sockets[i]; k != nil {
		if s.elapsed()-k.born < maxAge && k.add(c) {
			return k, nil
		}
		k.retire()
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.addr))
	if err != nil {
		s.sockets[i] = nil
		return nil, err
	}
	_ = conn.SetReadBuffer(readBuffer) // as far as the system lets us
	k := &socket{conn: conn, born: s.elapsed(), stats: s.stats, waiting: map[uint16]*call{}}
	k.add(c)
	s.sockets[i] = k
	s.readers.Go(func() { s.lost(k, k.read()) })
	return k, nil
}

// add gives a call a random ID that no other call here has. It is false if the socket takes no more.
func (k *socket) add(c *call) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retired || k.sent >= maxQueries {
		return false
	}
	k.sent++
	for {
		var id [2]byte
		rand.Read(id[:]) // never fails
		c.setID(binary.BigEndian.Uint16(id[:]))
		if k.waiting[c.id()] == nil {
			k.waiting[c.id()] = c
			return true
		}
	}
}

// lost answers all who wait at a socket with the failure that it had. If nothing listens at the port of the server, the
// other sockets have no answer to expect either, but the kernel tells only the one that sent something last.
func (s *server) lost(k *socket, err error) {
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

// read hands out answers until the socket is closed or fails. It parses them too: a goroutine that lives on has the stack
// for it, while each of those that wait would have to grow its own.
func (k *socket) read() error {
	buffer := make([]byte, readSize)
	for {
		n, err := k.conn.Read(buffer)
		if err != nil {
			return err
		}
		c := k.take(buffer[:n])
		if c == nil {
			k.stats.misfits.Add(1)
			continue
		}
		m, err := c.parse(buffer[:n])
		c.reply <- reply{m, err}
	}
}

// take returns the call that a packet fits, and forgets it; nil: there is none.
func (k *socket) take(packet []byte) *call {
	if len(packet) < headerSize {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.waiting[packetID(packet)]
	if c == nil || !c.fits(packet) {
		return nil
	}
	k.remove(c)
	return c
}

// forget takes back a call that nobody waits for any more.
func (k *socket) forget(c *call) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.remove(c)
}

// fail answers all calls with a failure of the network, such as "connection refused".
func (k *socket) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.retired = true
	for _, c := range k.waiting {
		c.reply <- reply{err: fmt.Errorf("%w: %w", ErrUnreachable, err)}
	}
	clear(k.waiting)
	k.conn.Close()
}

// retire lets the socket take no more calls, and end when those that it has are over.
func (k *socket) retire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.retired = true
	k.closeIfIdle()
}

// remove needs mu, and closeIfIdle too.
func (k *socket) remove(c *call) {
	if k.waiting[c.id()] == c {
		delete(k.waiting, c.id())
	}
	k.closeIfIdle()
}

func (k *socket) closeIfIdle() {
	if k.retired && len(k.waiting) == 0 {
		k.conn.Close()
	}
}
