package milter

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gomilter "github.com/emersion/go-milter"
)

const (
	// readBuffer is small: thousands of connections lie idle, and most packets are short.
	readBuffer = 2048
	// maxPacket is go-milter's own limit, the command and its data.
	maxPacket = 1 << 20
)

// Default timeouts, see Server.
const (
	defaultIdleTimeout   = 2 * time.Hour
	defaultPacketTimeout = 30 * time.Second
	defaultWriteTimeout  = 30 * time.Second
	defaultLinger        = 2 * time.Second
)

// conn is the connection as go-milter sees it. It buffers what is read, keeps the packets apart, so that each has its
// deadline and only those get through that go-milter answers rightly, and tells of its end.
type conn struct {
	net.Conn
	srv  *Server
	r    *bufio.Reader
	full bool // beyond the limit on connections

	ctx    context.Context // done when the connection is closed
	cancel context.CancelFunc
	once   sync.Once

	begin func() error // comes before the first read; nil: it was called

	// field takes a header field that nobody waits for, past go-milter, which takes some microseconds for each; nil: go-milter
	// takes them all.
	field func(name, value string)
	// macros takes all macros past it: it would forget some when others come.
	macros func(text string)

	left int         // octets of the current packet that were not read yet
	read deadline    // of the reads
	sent deadline    // of the writes
	busy atomic.Bool // a mail transaction is open

	onClose func() // called once, by the goroutine of the session; may be nil
}

// readers are the buffers of connections that have ended.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}

func newConn(nc net.Conn, srv *Server) *conn {
	c := &conn{Conn: nc, srv: srv, r: readers.Get().(*bufio.Reader)}
	c.r.Reset(nc)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

func orDefault(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

// readOffer reads the first packet, which is to be the MTA's side of the negotiation.
func (c *conn) readOffer() (offer, error) {
	c.readWithin(orDefault(c.srv.PacketTimeout, defaultPacketTimeout))
	p, err := c.r.Peek(offerSize)
	if err != nil {
		if len(p) == 0 {
			err = io.EOF // a port scan, a health check, or an MTA that changed its mind
		}
		return offer{}, err
	}
	o, err := parseOffer(p)
	if err == nil {
		_, err = c.r.Discard(c.packetLength())
	}
	return o, err
}

// Read implements net.Conn. It never returns more than the rest of one packet.
func (c *conn) Read(p []byte) (int, error) {
	if begin := c.begin; begin != nil {
		c.begin = nil
		if err := begin(); err != nil {
			return 0, io.EOF // for go-milter, which would tell the log too
		}
	}
	if c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// next finds the next packet that go-milter is to see.
func (c *conn) next() error {
	for {
		if err := c.await(); err != nil {
			return err
		}
		if !c.buffered() {
			c.readWithin(orDefault(c.srv.PacketTimeout, defaultPacketTimeout))
		}
		head, err := c.r.Peek(5)
		if err != nil {
			return err
		}
		c.left = c.packetLength()
		if err := checkPacket(c.left-4, gomilter.Code(head[4])); err != nil {
			return err
		}
		if taken, err := c.take(gomilter.Code(head[4])); err != nil || !taken {
			return err
		}
		if _, err := c.r.Discard(c.left); err != nil {
			return err
		}
		c.left = 0
	}
}

// await waits for the first octet of a packet, for as long as a connection may lie idle.
func (c *conn) await() error {
	if left, stopping := c.linger(); stopping && left <= 0 {
		return io.EOF
	}
	if c.r.Buffered() > 0 {
		return nil
	}
	c.readWithin(orDefault(c.srv.IdleTimeout, defaultIdleTimeout))
	_, err := c.r.Peek(1)
	if err != nil && c.srv.draining.Load() {
		return io.EOF
	}
	return err
}

// linger tells whether the server is draining and no transaction is open here, and how long the next packet may take to come
// then: a client that is in the midst of its session had better end it.
func (c *conn) linger() (left time.Duration, stopping bool) {
	if !c.srv.draining.Load() || c.busy.Load() {
		return 0, false
	}
	return min(orDefault(c.srv.Linger, defaultLinger), time.Until(c.srv.lastCall)), true
}

// readWithin lets the next read take so long at most, and not longer than a draining server waits.
func (c *conn) readWithin(d time.Duration) {
	// A draining server sets others, behind our back.
	if at, due := c.read.within(d); due || c.srv.draining.Load() {
		c.Conn.SetReadDeadline(at)
		c.drain()
	}
}

// deadline is one that is set again only if it would be too early by some share: setting it takes a microsecond, and is due for
// every packet.
type deadline struct{ at time.Time }

// within tells whether a deadline must be set, and for when, so that what begins now may take so long at least, and hardly longer.
func (l *deadline) within(d time.Duration) (at time.Time, due bool) {
	at = time.Now().Add(d)
	if slack := d / 16; l.at.Before(at) || l.at.After(at.Add(slack)) {
		l.at = at.Add(slack)
		return l.at, true
	}
	return at, false
}

// take takes the packet at the head of the buffer, if go-milter need not see it.
func (c *conn) take(code gomilter.Code) (taken bool, err error) {
	switch {
	case code == gomilter.CodeMacro && c.macros != nil:
		return true, c.takeMacros()
	case code == gomilter.CodeHeader && c.field != nil:
		packet, err := c.whole()
		if err != nil {
			return false, err
		}
		name, value, _ := strings.Cut(string(packet[5:]), "\x00")
		c.field(name, strings.TrimSuffix(value, "\x00"))
		return true, nil
	default:
		return false, nil
	}
}

// takeMacros takes the macros of a command. Those for a header field or a piece of the body, which Postfix sends before every
// one, nobody looks at.
func (c *conn) takeMacros() error {
	const head = 6 // with the code of the command
	if c.left < head {
		return errors.New("milter: macros without a command")
	}
	packet, err := c.r.Peek(head)
	if err != nil {
		return err
	}
	if of := gomilter.Code(packet[head-1]); of == gomilter.CodeHeader || of == gomilter.CodeBody {
		return nil
	}
	if packet, err = c.whole(); err != nil {
		return err
	}
	c.macros(string(packet[head:]))
	return nil
}

// whole is the packet at the head of the buffer, valid until the next read. One that does not fit is read.
func (c *conn) whole() ([]byte, error) {
	if c.left <= readBuffer {
		return c.r.Peek(c.left)
	}
	packet := make([]byte, c.left)
	c.left = 0
	_, err := io.ReadFull(c.r, packet)
	return packet, err
}

// buffered tells whether a whole packet lies in the buffer, so that no deadline is needed to read it.
func (c *conn) buffered() bool {
	if c.r.Buffered() < 5 {
		return false
	}
	return c.r.Buffered() >= c.packetLength()
}

// packetLength is the length of the packet at the head of the buffer, which holds at least four octets, with its length
// field.
func (c *conn) packetLength() int {
	head, _ := c.r.Peek(4)
	n := binary.BigEndian.Uint32(head)
	return 4 + int(min(n, maxPacket+1))
}

// checkPacket refuses packets that go-milter would answer in a way that the MTA does not expect.
func checkPacket(length int, code gomilter.Code) error {
	if length < 1 || length > maxPacket {
		return fmt.Errorf("milter: packet of %d octets", length)
	}
	switch code {
	case gomilter.CodeMacro, gomilter.CodeConn, gomilter.CodeHelo, gomilter.CodeMail,
		gomilter.CodeRcpt, gomilter.CodeHeader, gomilter.CodeEOH, gomilter.CodeBody, gomilter.CodeEOB,
		gomilter.CodeAbort, gomilter.CodeData, gomilter.CodeQuit:
		return nil
	}
	return fmt.Errorf("milter: unknown command %q", rune(code))
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if at, due := c.sent.within(orDefault(c.srv.WriteTimeout, defaultWriteTimeout)); due {
		c.Conn.SetWriteDeadline(at)
	}
	return c.Conn.Write(p)
}

// Close implements net.Conn. The goroutine that reads calls it, when it has done so for the last time.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		if c.onClose != nil {
			c.onClose()
		}
		c.release()
		c.srv.closed(c)
	})
	return err
}

// release gives back what newConn took.
func (c *conn) release() {
	c.cancel()
	c.r.Reset(nil)
	readers.Put(c.r)
}

// drain ends a connection that has no mail transaction open, if nothing comes soon. One that has goes on until after it.
func (c *conn) drain() {
	if left, stopping := c.linger(); stopping {
		c.Conn.SetReadDeadline(time.Now().Add(left))
	}
}
