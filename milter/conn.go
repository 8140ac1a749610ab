package milter

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	gomilter "github.com/emersion/go-milter"
)

// readBuffer is the size of a connection's buffer, in bytes. It has room for what an MTA sends of most messages after DATA.
// Half of it costs two more system calls for a message of 5 KiB; double adds a tenth to the memory of a message in flight.
const readBuffer = 8 << 10

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

	unread        int         // bytes of the current packet
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

// Read implements net.Conn. It never returns more than the rest of one packet.
func (c *conn) Read(p []byte) (int, error) {
	if !c.session.negotiated {
		if err := c.session.begin(); err != nil {
			return 0, io.EOF // logged already; go-milter would log any other error
		}
	}
	if c.unread == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(p[:min(len(p), c.unread)])
	c.unread -= n
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
		c.unread = c.packetLength()
		if err := checkPacket(c.unread-4, gomilter.Code(head[4])); err != nil {
			return err
		}
		if taken, err := c.take(gomilter.Code(head[4])); err != nil || !taken {
			return err
		}
		if _, err := c.r.Discard(c.unread); err != nil {
			return err
		}
		c.unread = 0
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
