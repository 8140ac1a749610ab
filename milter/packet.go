package milter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	gomilter "github.com/emersion/go-milter"
)

const (
	// maxPacket is the length of a packet without its length field, in bytes: the limit of go-milter.
	maxPacket = 1 << 20
	// packetHead is the length of the beginning of a packet in bytes: its length field and its code.
	packetHead = 4 + 1
)

// take passes the packet at the head of the buffer to the session if it bypasses go-milter, and reports whether it did:
//   - macros, some of which go-milter would forget when others arrive
//   - DATA, to which go-milter always responds
//   - header fields: go-milter takes microseconds for each, and keeps those of all messages of a connection
//   - parts of the body, which go-milter copies
func (c *conn) take(code gomilter.Code) (taken bool, err error) {
	switch code {
	case gomilter.CodeData, gomilter.CodeHeader, gomilter.CodeEOH, gomilter.CodeBody:
		c.session.afterData = true
	}
	switch code {
	case gomilter.CodeMacro:
		return true, c.takeMacros()
	case gomilter.CodeData:
		return true, c.session.proceed(gomilter.OptNoDataReply)
	case gomilter.CodeHeader:
		return true, c.takeField()
	case gomilter.CodeBody:
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
	return c.session.proceed(gomilter.OptNoHeaderReply)
}

// takeBody passes on a part of the body, up to readBuffer bytes at a time. It leaves nothing of the packet.
func (c *conn) takeBody() error {
	if _, err := c.r.Discard(packetHead); err != nil {
		return err
	}
	for c.unread -= packetHead; c.unread > 0; {
		piece, err := c.r.Peek(min(c.unread, readBuffer))
		if err != nil {
			return err
		}
		c.session.writeBody(piece)
		n, _ := c.r.Discard(len(piece)) // of the buffer
		c.unread -= n
	}
	return c.session.proceed(gomilter.OptNoBodyReply)
}

// takeMacros passes on the macros of a command. It drops those that Postfix sends before DATA, every header field and body chunk.
func (c *conn) takeMacros() error {
	const head = packetHead + 1 // with the command that the macros belong to
	if c.unread < head {
		return errors.New("milter: macro packet without a command")
	}
	packet, err := c.r.Peek(head)
	if err != nil {
		return err
	}
	switch gomilter.Code(packet[head-1]) {
	case gomilter.CodeData, gomilter.CodeHeader, gomilter.CodeBody:
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
	if c.unread <= readBuffer {
		return c.r.Peek(c.unread)
	}
	packet := make([]byte, c.unread)
	c.unread = 0
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
