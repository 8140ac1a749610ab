package resolver

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// UDP sockets are shared by queries, because opening and closing one costs more than a query. They are replaced after
// some time, because a port that never changes can be guessed (RFC 5452 section 9.2). An attacker has to guess one port
// of about 28000 that is valid for less than a minute and one ID of 65536, while the one query for a question is in
// flight.
const (
	// socketsPerServer is the number of receive buffers that a burst of answers is spread over. With half as many, half
	// as large a burst fits; double takes up to 4 MiB more kernel memory for each server.
	socketsPerServer = 4

	// A socket is replaced after maxQueries or maxAge. Half gives an attacker half the time to find its port, and costs
	// one more socket per thousand queries; double gives twice the time.
	maxQueries = 1000
	maxAge     = 30 * time.Second

	// readBuffer is the receive buffer of a socket in bytes. The kernel counts about 800 for an answer. Half holds half
	// as large a burst; an answer without room is lost, and its session waits for the time-out.
	readBuffer = 1 << 20

	// readSize allows for servers that ignore udpSize. The kernel truncates longer answers, and they do not parse.
	readSize = 4096
)

// call is a query that waits for its answer.
type call struct {
	*query
	reply chan reply // with room for the one reply
}

type reply struct {
	message *dns.Msg
	err     error
}

// socket is a connected UDP socket with a goroutine that assigns packets to calls. After retire it closes itself when
// no call is left.
type socket struct {
	conn   net.Conn
	opened time.Duration // server.elapsed at that time
	stats  *counters

	mu      sync.Mutex
	waiting map[uint16]*call // by ID
	sent    int              // queries
	retired bool             // accepts no more calls
}

// add gives a call a random ID that is unique among the calls of the socket. It returns false if the socket accepts no
// more calls.
func (k *socket) add(c *call) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retired || k.sent >= maxQueries {
		return false
	}
	k.sent++
	for {
		c.setRandomID()
		if k.waiting[c.id()] == nil {
			k.waiting[c.id()] = c
			return true
		}
	}
}

// read passes answers to their calls until the socket is closed or fails. It also parses them: its goroutine has a
// stack of the size that parsing needs, and those of the callers would have to grow.
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
		c.reply <- reply{message: m, err: err}
	}
}

// take removes and returns the call that a packet answers, or returns nil.
func (k *socket) take(packet []byte) *call {
	if len(packet) < headerSize {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.waiting[packetID(packet)]
	if c == nil || !c.matches(packet) {
		return nil
	}
	k.remove(c)
	return c
}

// forget removes a call whose caller has stopped waiting.
func (k *socket) forget(c *call) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.remove(c)
}

// fail ends all calls with a network error such as "connection refused" and closes the socket.
func (k *socket) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.retired = true
	for _, c := range k.waiting {
		c.reply <- reply{err: fmt.Errorf("%w: %w", errUnreachable, err)}
	}
	clear(k.waiting)
	k.conn.Close()
}

// retire makes the socket accept no more calls and close after the last one.
func (k *socket) retire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.retired = true
	k.closeIfIdle()
}

// remove removes a call. The caller holds mu.
func (k *socket) remove(c *call) {
	if k.waiting[c.id()] == c {
		delete(k.waiting, c.id())
	}
	k.closeIfIdle()
}

// closeIfIdle closes a retired socket without calls. The caller holds mu.
func (k *socket) closeIfIdle() {
	if k.retired && len(k.waiting) == 0 {
		k.conn.Close()
	}
}
