package milter

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	gomilter "github.com/emersion/go-milter"
)

const (
	// readBuffer is the size of a connection's buffer, in bytes. It has room for what an MTA sends of most messages after DATA.
	// Half of it costs two more system calls for a message of 5 KiB; double adds a tenth to the memory of a message in flight.
	readBuffer = 8 << 10
	// maxPacket is the length of a packet without its length field, in bytes: the limit of go-milter.
	maxPacket = 1 << 20
	// packetHead is the length of the beginning of a packet in bytes: its length field and its code.
	packetHead = 4 + 1
	// offerSize is the least length of the first packet of the MTA in bytes: its head, version, actions, protocol.
	offerSize = packetHead + 3*4
)

const (
	// idleTimeout is the longest time between two packets. The MTA waits for its client in between.
	idleTimeout = 2 * time.Hour
	// writeTimeout is the longest time for one response.
	writeTimeout = 30 * time.Second
	// defaultPacketTimeout is the longest time for one packet, and for the first one to arrive.
	defaultPacketTimeout = 30 * time.Second
	// defaultDrainIdle is the longest time between two packets outside of a transaction while the server is draining.
	defaultDrainIdle = 2 * time.Second
)

// conn is a connection to an MTA, as passed to go-milter. Read returns one packet at a time: each has its own deadline, and
// a packet that go-milter would answer wrongly ends the connection. Some packets go to the session and bypass go-milter, see
// take.
type conn struct {
	net.Conn
	srv     *Server
	session *session        // set before the first read
	raw     syscall.RawConn // of Conn; nil for a pipe in a test
	r       *bufio.Reader   // nil while the connection is idle, see awaitInput
	full    bool            // beyond MaxConnections

	ctx    context.Context // done when the connection is closed
	cancel context.CancelFunc

	left          int         // bytes of the current packet that were not read yet
	inTransaction atomic.Bool // Shutdown reads it too
}

// readers is the pool of the buffers that no connection needs.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}

func newConn(nc net.Conn, srv *Server) *conn {
	c := &conn{Conn: nc, srv: srv}
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn() // it fails for a nil connection only
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// readOffer reads the first packet, the MTA's side of the negotiation. The error is io.EOF if the MTA sends nothing, as a port
// scan or a health check.
func (c *conn) readOffer() (actions gomilter.OptAction, protocol gomilter.OptProtocol, err error) {
	c.readWithin(cmp.Or(c.srv.packetTimeout, defaultPacketTimeout))
	if err := c.awaitInput(); err != nil {
		return 0, 0, io.EOF
	}
	p, err := c.r.Peek(offerSize)
	switch {
	case len(p) == 0:
		return 0, 0, io.EOF
	case err != nil:
		return 0, 0, err
	}
	length := c.packetLength()
	if length < offerSize || length > 4+maxPacket || p[4] != byte(gomilter.CodeOptNeg) {
		return 0, 0, errors.New("milter: the first packet is not an option negotiation")
	}
	actions = gomilter.OptAction(binary.BigEndian.Uint32(p[packetHead+4:]))
	protocol = gomilter.OptProtocol(binary.BigEndian.Uint32(p[packetHead+8:]))
	_, err = c.r.Discard(length)
	return actions, protocol, err
}

// Read implements net.Conn. It never returns more than the rest of one packet.
func (c *conn) Read(p []byte) (int, error) {
	if !c.session.negotiated {
		if err := c.session.begin(); err != nil {
			return 0, io.EOF // logged already; go-milter would log any other error
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

// next reads up to the next packet for go-milter, and handles the packets before it that bypass go-milter.
func (c *conn) next() error {
	for {
		if err := c.await(); err != nil {
			return err
		}
		if !c.buffered() {
			c.readWithin(cmp.Or(c.srv.packetTimeout, defaultPacketTimeout))
		}
		head, err := c.r.Peek(packetHead)
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

// await waits for the first byte of a packet, for at most idleTimeout. Outside of a transaction it waits without a buffer.
func (c *conn) await() error {
	if left, stopping := c.idleLeft(); stopping && left <= 0 {
		return io.EOF
	}
	if c.r != nil && c.r.Buffered() > 0 {
		return nil
	}
	c.readWithin(idleTimeout)
	var err error
	if !c.inTransaction.Load() {
		err = c.awaitInput()
	}
	if err == nil {
		_, err = c.r.Peek(1)
	}
	if err != nil && c.srv.draining.Load() {
		return io.EOF // go-milter logs any other error
	}
	return err
}

// awaitInput waits until there is something to read, without a buffer: most connections are idle most of the time, and an MTA may
// keep thousands open. Afterwards the connection has a buffer, also after an error.
func (c *conn) awaitInput() error {
	c.freeBuffer()
	defer func() {
		c.r = readers.Get().(*bufio.Reader)
		c.r.Reset(c.Conn)
	}()
	if c.raw == nil {
		return nil
	}
	return c.raw.Read(func(fd uintptr) (ready bool) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		return err != syscall.EAGAIN
	})
}

// idleLeft returns how long the connection still waits for the next packet. stopping is set if the server is draining and no
// transaction is open.
func (c *conn) idleLeft() (left time.Duration, stopping bool) {
	if !c.srv.draining.Load() || c.inTransaction.Load() {
		return 0, false
	}
	return min(cmp.Or(c.srv.drainIdle, defaultDrainIdle), time.Until(c.srv.lastBegin)), true
}

// readWithin sets the deadline of the next read, in d or earlier while the server is draining.
func (c *conn) readWithin(d time.Duration) {
	c.Conn.SetReadDeadline(time.Now().Add(d))
	c.drain()
}

// drain shortens the read deadline while the server is draining, unless a transaction is open. Shutdown calls it from another
// goroutine.
func (c *conn) drain() {
	left, stopping := c.idleLeft()
	if !stopping {
		return
	}
	c.Conn.SetReadDeadline(time.Now().Add(left))
	if c.inTransaction.Load() { // a transaction began meanwhile
		c.Conn.SetReadDeadline(time.Now().Add(idleTimeout))
	}
}

// take passes the packet at the head of the buffer to the session if it bypasses go-milter, and reports whether it did. These
// are macros, some of which go-milter would forget when others arrive, and the fields and parts of the body for which the MTA
// awaits no response: go-milter takes several microseconds for each field, and copies each part.
func (c *conn) take(code gomilter.Code) (taken bool, err error) {
	switch {
	case code == gomilter.CodeMacro:
		return true, c.takeMacros()
	case code == gomilter.CodeHeader && c.session.protocol&gomilter.OptNoHeaderReply != 0:
		return true, c.takeField()
	case code == gomilter.CodeBody && c.session.protocol&gomilter.OptNoBodyReply != 0:
		return true, c.takeBody()
	default:
		return false, nil
	}
}

// takeField passes on a header field.
func (c *conn) takeField() error {
	packet, err := c.wholePacket()
	if err != nil {
		return err
	}
	name, value, _ := strings.Cut(string(packet[packetHead:]), "\x00")
	c.session.keepField(name, strings.TrimSuffix(value, "\x00"))
	return nil
}

// takeBody passes on a part of the body, up to readBuffer bytes at a time. It leaves nothing of the packet.
func (c *conn) takeBody() error {
	if _, err := c.r.Discard(packetHead); err != nil {
		return err
	}
	for c.left -= packetHead; c.left > 0; {
		piece, err := c.r.Peek(min(c.left, readBuffer))
		if err != nil {
			return err
		}
		c.session.writeBody(piece)
		n, _ := c.r.Discard(len(piece)) // of the buffer
		c.left -= n
	}
	return nil
}

// takeMacros passes on the macros of a command. It drops those that Postfix sends before every header field and body chunk.
func (c *conn) takeMacros() error {
	const head = packetHead + 1 // with the command that the macros belong to
	if c.left < head {
		return errors.New("milter: macro packet without a command")
	}
	packet, err := c.r.Peek(head)
	if err != nil {
		return err
	}
	if of := gomilter.Code(packet[head-1]); of == gomilter.CodeHeader || of == gomilter.CodeBody {
		return nil
	}
	if packet, err = c.wholePacket(); err != nil {
		return err
	}
	c.session.setMacros(string(packet[head:]))
	return nil
}

// wholePacket returns the packet at the head of the buffer, valid until the next read.
func (c *conn) wholePacket() ([]byte, error) {
	if c.left <= readBuffer {
		return c.r.Peek(c.left)
	}
	packet := make([]byte, c.left)
	c.left = 0
	_, err := io.ReadFull(c.r, packet)
	return packet, err
}

// buffered reports whether the buffer has a whole packet, so that reading it needs no deadline.
func (c *conn) buffered() bool {
	n := c.r.Buffered()
	return n >= packetHead && n >= c.packetLength()
}

// packetLength returns the length of the packet at the head of the buffer, including its length field. The buffer has at
// least four bytes.
func (c *conn) packetLength() int {
	head, _ := c.r.Peek(4)
	n := binary.BigEndian.Uint32(head)
	return 4 + int(min(n, maxPacket+1))
}

// checkPacket returns an error for a packet that go-milter would answer in a way that the MTA does not expect.
func checkPacket(length int, code gomilter.Code) error {
	if length < 1 || length > maxPacket {
		return fmt.Errorf("milter: packet of %d bytes", length)
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
	c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return c.Conn.Write(p)
}

// Close implements net.Conn. go-milter calls it once, after the last read.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.session.closed()
	c.release()
	c.srv.closed(c)
	return err
}

// release frees what the connection holds.
func (c *conn) release() {
	c.cancel()
	c.freeBuffer()
}

// freeBuffer returns the buffer to the pool.
func (c *conn) freeBuffer() {
	if c.r != nil {
		c.r.Reset(nil)
		readers.Put(c.r)
		c.r = nil
	}
}
