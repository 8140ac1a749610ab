package miltertest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	gomilter "github.com/emersion/go-milter"
)

const (
	version     = 6
	maxResponse = 1 << 20
)

// What an MTA of today offers.
const (
	AllActions  gomilter.OptAction   = 0x1ff
	AllProtocol gomilter.OptProtocol = 0x1fffff
)

// noReply and noSend are the protocol flags by event.
var (
	noReply = map[gomilter.Code]gomilter.OptProtocol{
		gomilter.CodeConn: gomilter.OptNoConnReply, gomilter.CodeHelo: gomilter.OptNoHeloReply,
		gomilter.CodeMail: gomilter.OptNoMailReply, gomilter.CodeRcpt: gomilter.OptNoRcptReply,
		gomilter.CodeHeader: gomilter.OptNoHeaderReply, gomilter.CodeEOH: gomilter.OptNoEOHReply,
		gomilter.CodeBody: gomilter.OptNoBodyReply,
	}
	noSend = map[gomilter.Code]gomilter.OptProtocol{
		gomilter.CodeConn: gomilter.OptNoConnect, gomilter.CodeHelo: gomilter.OptNoHelo,
		gomilter.CodeMail: gomilter.OptNoMailFrom, gomilter.CodeRcpt: gomilter.OptNoRcptTo,
		gomilter.CodeHeader: gomilter.OptNoHeaders, gomilter.CodeEOH: gomilter.OptNoEOH,
		gomilter.CodeBody: gomilter.OptNoBody,
	}
)

// Response is what the filter answered. The zero value is "continue".
type Response struct {
	Action gomilter.ActionCode // zero stands for continue
	Lines  []string            // of the reply, if Action is ActReplyCode: "550 5.7.1 text"
}

// Refused tells whether the response ends the command it answers with a 4yz or 5yz reply.
func (r Response) Refused() bool {
	return r.Action == gomilter.ActReplyCode || r.Action == gomilter.ActReject || r.Action == gomilter.ActTempFail
}

// Conn is a connection to a filter, for one SMTP session. It is not safe for concurrent use.
type Conn struct {
	Protocol gomilter.OptProtocol        // what the filter chose
	Symbols  map[gomilter.Stage][]string // macros that it asked for

	c       net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	buf     []byte
	timeout time.Duration
}

// DialConn connects to the filter at an address of package net and negotiates. The timeout is for each response.
func DialConn(network, address string, timeout time.Duration) (*Conn, error) {
	c, err := net.DialTimeout(network, address, timeout)
	if err != nil {
		return nil, err
	}
	m := NewConn(c, timeout)
	if err := m.Negotiate(AllActions, AllProtocol); err != nil {
		c.Close()
		return nil, err
	}
	return m, nil
}

// NewConn makes a Conn that has not negotiated, for those who want to send what no MTA would.
func NewConn(c net.Conn, timeout time.Duration) *Conn {
	return &Conn{c: c, r: bufio.NewReader(c), w: bufio.NewWriter(c), timeout: timeout}
}

// Negotiate offers actions and protocol options and notes what the filter chose of them. Dial has done it.
func (m *Conn) Negotiate(actions gomilter.OptAction, protocol gomilter.OptProtocol) error {
	var offer []byte
	for _, v := range []uint32{version, uint32(actions), uint32(protocol)} {
		offer = binary.BigEndian.AppendUint32(offer, v)
	}
	m.Send(gomilter.CodeOptNeg, offer)
	code, data, err := m.Receive()
	if err != nil {
		return fmt.Errorf("milter negotiation: %w", err)
	}
	if code != byte(gomilter.CodeOptNeg) || len(data) < 12 {
		return fmt.Errorf("milter negotiation: answered by %q with %d octets", code, len(data))
	}
	m.Protocol = gomilter.OptProtocol(binary.BigEndian.Uint32(data[8:]))
	if extra := m.Protocol &^ protocol; extra != 0 {
		return fmt.Errorf("milter negotiation: the filter wants %#x, which was not offered", uint32(extra))
	}
	m.Symbols = map[gomilter.Stage][]string{}
	for data = data[12:]; len(data) > 4; {
		names, rest, _ := strings.Cut(string(data[4:]), "\x00")
		m.Symbols[gomilter.Stage(binary.BigEndian.Uint32(data))] = strings.Fields(names)
		data = []byte(rest)
	}
	return nil
}

// Send puts a packet into the write buffer, which Receive flushes.
func (m *Conn) Send(code gomilter.Code, data []byte) {
	m.buf = binary.BigEndian.AppendUint32(m.buf[:0], uint32(len(data)+1))
	m.buf = append(m.buf, byte(code))
	m.w.Write(m.buf) // errors stay with the writer until Flush
	m.w.Write(data)
}

// Receive flushes what was sent and reads a packet.
func (m *Conn) Receive() (code byte, data []byte, err error) {
	m.c.SetDeadline(time.Now().Add(m.timeout))
	if err := m.w.Flush(); err != nil {
		return 0, nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(m.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxResponse {
		return 0, nil, fmt.Errorf("packet of %d octets", n)
	}
	data = make([]byte, n)
	if _, err := io.ReadFull(m.r, data); err != nil {
		return 0, nil, err
	}
	return data[0], data[1:], nil
}

// Macros sends the macros of an event. Keys as the MTAs spell them: single letters bare, others in braces.
func (m *Conn) Macros(event gomilter.Code, macros map[string]string) {
	data := []byte{byte(event)}
	keys := make([]string, 0, len(macros))
	for k := range macros {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		data = cstrings(data, k, macros[k])
	}
	m.Send(gomilter.CodeMacro, data)
}

func cstrings(data []byte, ss ...string) []byte {
	for _, s := range ss {
		data = append(append(data, s...), 0)
	}
	return data
}

// event sends an event, unless the filter does not want it, and waits for the response, unless the filter gives none.
func (m *Conn) event(code gomilter.Code, macros map[string]string, data []byte) (Response, error) {
	if m.Protocol&noSend[code] != 0 {
		return Response{}, nil
	}
	if macros != nil {
		m.Macros(code, macros)
	}
	m.Send(code, data)
	if m.Protocol&noReply[code] != 0 {
		return Response{}, nil
	}
	r, err := m.response(code == gomilter.CodeEOB)
	if err != nil {
		err = fmt.Errorf("milter event %q: %w", rune(code), err)
	}
	return r, err
}

var errBadReply = errors.New("reply without a NUL at its end")

// modifications are the responses that change a message, and precede the one to its end.
const modifications = "+-2behimq"

func (m *Conn) response(mayChange bool) (Response, error) {
	var code byte
	var data []byte
	for {
		var err error
		if code, data, err = m.Receive(); err != nil {
			return Response{}, err
		}
		if !mayChange || !strings.ContainsRune(modifications, rune(code)) {
			break
		}
	}
	switch r := (Response{Action: gomilter.ActionCode(code)}); r.Action {
	case gomilter.ActContinue:
		return Response{}, nil
	case gomilter.ActReplyCode:
		text, ok := strings.CutSuffix(string(data), "\x00")
		if !ok {
			return r, errBadReply
		}
		r.Lines = strings.Split(strings.ReplaceAll(text, "%%", "%"), "\r\n")
		return r, nil
	case gomilter.ActAccept, gomilter.ActReject, gomilter.ActTempFail, gomilter.ActDiscard:
		return r, nil
	default:
		return r, fmt.Errorf("unexpected response %q", code)
	}
}

// Connect tells of the client. An invalid address stands for a local submission.
func (m *Conn) Connect(name string, client netip.AddrPort, macros map[string]string) (Response, error) {
	data := cstrings(nil, name)
	switch a := client.Addr(); {
	case !a.IsValid():
		data = append(data, byte(gomilter.FamilyUnknown))
	default:
		family := gomilter.FamilyInet
		if a.Is6() {
			family = gomilter.FamilyInet6
		}
		data = binary.BigEndian.AppendUint16(append(data, byte(family)), client.Port())
		data = cstrings(data, a.String())
	}
	return m.event(gomilter.CodeConn, macros, data)
}

// Helo tells of a HELO or EHLO.
func (m *Conn) Helo(name string, macros map[string]string) (Response, error) {
	return m.event(gomilter.CodeHelo, macros, cstrings(nil, name))
}

// Mail tells of a MAIL command. The path comes as the client typed it, as "<a@example.org>".
func (m *Conn) Mail(path string, macros map[string]string) (Response, error) {
	return m.event(gomilter.CodeMail, macros, cstrings(nil, path))
}

// Rcpt tells of a RCPT command.
func (m *Conn) Rcpt(path string, macros map[string]string) (Response, error) {
	return m.event(gomilter.CodeRcpt, macros, cstrings(nil, path))
}

// Header tells of a header field. The value begins after the colon, its lines end in LF.
func (m *Conn) Header(name, value string) (Response, error) {
	if m.Protocol&gomilter.OptHeaderLeadingSpace == 0 {
		value = strings.TrimPrefix(value, " ")
	}
	return m.event(gomilter.CodeHeader, nil, cstrings(nil, name, value))
}

// EndOfHeader tells of the end of the header section.
func (m *Conn) EndOfHeader(macros map[string]string) (Response, error) {
	return m.event(gomilter.CodeEOH, macros, nil)
}

// Body sends a part of the body, at most 65,535 octets.
func (m *Conn) Body(chunk []byte) (Response, error) { return m.event(gomilter.CodeBody, nil, chunk) }

// EndOfMessage tells of the end of the message.
func (m *Conn) EndOfMessage(macros map[string]string) (Response, error) {
	return m.event(gomilter.CodeEOB, macros, nil)
}

// Abort tells that the transaction has ended otherwise.
func (m *Conn) Abort() error {
	m.Send(gomilter.CodeAbort, nil)
	return m.w.Flush()
}

// Quit ends the session in good order.
func (m *Conn) Quit() error {
	m.Send(gomilter.CodeQuit, nil)
	return errors.Join(m.w.Flush(), m.c.Close())
}

// Close ends the session without a word.
func (m *Conn) Close() error { return m.c.Close() }
