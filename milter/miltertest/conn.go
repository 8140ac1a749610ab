package miltertest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	gomilter "github.com/emersion/go-milter"
)

// What current MTAs offer to a filter.
const (
	version     uint32               = 6
	AllActions  gomilter.OptAction   = 0x1ff
	AllProtocol gomilter.OptProtocol = 0x1fffff
)

// maxPacket is the largest packet that Receive takes, in bytes, without the length. Real MTAs take 64 KiB to 1 MiB.
const maxPacket = 1 << 20

// eventFlags are the protocol flags by which a filter declines an event, or declares that it does not respond to it.
var eventFlags = map[gomilter.Code]struct{ noSend, noReply gomilter.OptProtocol }{
	gomilter.CodeConn:   {gomilter.OptNoConnect, gomilter.OptNoConnReply},
	gomilter.CodeHelo:   {gomilter.OptNoHelo, gomilter.OptNoHeloReply},
	gomilter.CodeMail:   {gomilter.OptNoMailFrom, gomilter.OptNoMailReply},
	gomilter.CodeRcpt:   {gomilter.OptNoRcptTo, gomilter.OptNoRcptReply},
	gomilter.CodeData:   {gomilter.OptNoData, gomilter.OptNoDataReply},
	gomilter.CodeHeader: {gomilter.OptNoHeaders, gomilter.OptNoHeaderReply},
	gomilter.CodeEOH:    {gomilter.OptNoEOH, gomilter.OptNoEOHReply},
	gomilter.CodeBody:   {gomilter.OptNoBody, gomilter.OptNoBodyReply},
}

// Response is the filter's response to an event. The zero value is "continue".
type Response struct {
	Action gomilter.ActionCode // zero is continue
	Lines  []string            // of the SMTP reply, if Action is ActReplyCode, such as "550 5.7.1 text"
	Raw    string              // the SMTP reply as the filter sent it: lines end in CRLF, percent signs are doubled

	Changes []Change // of the message, in order; only at its end
}

// Change is a change of a message by the filter.
type Change struct {
	Code  gomilter.ModifyActCode // such as ActInsertHeader and ActQuarantine
	Index uint32                 // position of an inserted field; of a changed one, index among the fields of its name, from 1 on
	Name  string                 // of the field; else empty
	Value string                 // of the field as sent, with a leading space if that is negotiated; else all data
}

// parseChange returns the change of a packet.
func parseChange(code byte, data []byte) (Change, error) {
	c := Change{Code: gomilter.ModifyActCode(code)}
	text, ok := strings.CutSuffix(string(data), "\x00")
	switch c.Code {
	case gomilter.ActInsertHeader, gomilter.ActChangeHeader:
		if len(text) < 4 {
			return c, errNoNUL
		}
		c.Index, text = binary.BigEndian.Uint32(data), text[4:]
		fallthrough
	case gomilter.ActAddHeader:
		var both bool
		c.Name, c.Value, both = strings.Cut(text, "\x00")
		ok = ok && both
	default:
		c.Value = text
		ok = ok || c.Code != gomilter.ActQuarantine
	}
	if !ok {
		return c, errNoNUL
	}
	return c, nil
}

// Refused reports whether the MTA answers the client with a 4yz or 5yz reply.
func (r Response) Refused() bool {
	return r.Action == gomilter.ActReplyCode || r.Action == gomilter.ActReject || r.Action == gomilter.ActTempFail
}

// Conn is a connection to a filter, for one SMTP session. It is not safe for concurrent use.
type Conn struct {
	Version  uint32                      // of the protocol, that the filter chose
	Protocol gomilter.OptProtocol        // options that the filter chose
	Symbols  map[gomilter.Stage][]string // macros that the filter asked for

	c       net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	timeout time.Duration
}

// Dial connects to the filter at an address of package net and negotiates. The timeout is for each response.
func Dial(network, address string, timeout time.Duration) (*Conn, error) {
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

// NewConn returns a Conn that has not negotiated. The timeout is for each response.
func NewConn(c net.Conn, timeout time.Duration) *Conn {
	return &Conn{c: c, r: bufio.NewReader(c), w: bufio.NewWriter(c), timeout: timeout}
}

// Negotiate offers actions and protocol options, and sets Protocol and Symbols to what the filter chose.
func (m *Conn) Negotiate(actions gomilter.OptAction, protocol gomilter.OptProtocol) error {
	m.Send(gomilter.CodeOptNeg, Offer(actions, protocol))
	code, data, err := m.Receive()
	if err != nil {
		return fmt.Errorf("milter negotiation: %w", err)
	}
	if code != byte(gomilter.CodeOptNeg) || len(data) < 12 {
		return fmt.Errorf("milter negotiation: got %q with %d bytes", code, len(data))
	}
	m.Version = binary.BigEndian.Uint32(data)
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

// Offer returns the data of the packet by which an MTA begins a negotiation.
func Offer(actions gomilter.OptAction, protocol gomilter.OptProtocol) []byte {
	var data []byte
	for _, v := range []uint32{version, uint32(actions), uint32(protocol)} {
		data = binary.BigEndian.AppendUint32(data, v)
	}
	return data
}

// Packet returns a packet as it is sent: length, code, data.
func Packet(code gomilter.Code, data []byte) []byte {
	packet := binary.BigEndian.AppendUint32(nil, uint32(len(data)+1))
	return append(append(packet, byte(code)), data...)
}

// Send adds a packet to the write buffer, which Receive flushes.
func (m *Conn) Send(code gomilter.Code, data []byte) {
	head := binary.BigEndian.AppendUint32(m.w.AvailableBuffer(), uint32(len(data)+1))
	m.w.Write(append(head, byte(code))) // Flush returns the errors
	m.w.Write(data)
}

// Receive flushes the write buffer and reads one packet.
func (m *Conn) Receive() (code byte, data []byte, err error) {
	m.c.SetDeadline(time.Now().Add(m.timeout))
	if err := m.w.Flush(); err != nil {
		return 0, nil, err
	}
	var length [4]byte
	if _, err := io.ReadFull(m.r, length[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 || n > maxPacket {
		return 0, nil, fmt.Errorf("packet of %d bytes", n)
	}
	data = make([]byte, n)
	if _, err := io.ReadFull(m.r, data); err != nil {
		return 0, nil, err
	}
	return data[0], data[1:], nil
}

// Macros sends the macros of an event. Names of one letter are bare, others in braces: "i", "{client_addr}".
func (m *Conn) Macros(event gomilter.Code, macros map[string]string) {
	data := []byte{byte(event)}
	for _, name := range slices.Sorted(maps.Keys(macros)) {
		data = appendStrings(data, name, macros[name])
	}
	m.Send(gomilter.CodeMacro, data)
}

// appendStrings appends strings that end in NUL.
func appendStrings(data []byte, ss ...string) []byte {
	for _, s := range ss {
		data = append(append(data, s...), 0)
	}
	return data
}

// dataVersion is the first version of the protocol with the event DATA.
const dataVersion = 4

// Sends reports whether the filter receives an event.
func (m *Conn) Sends(code gomilter.Code) bool {
	return m.Protocol&eventFlags[code].noSend == 0 && (code != gomilter.CodeData || m.Version >= dataVersion)
}

// event sends an event with its macros, unless the filter declined it, and returns the filter's response. It returns
// "continue" at once if the filter does not respond to the event.
func (m *Conn) event(code gomilter.Code, macros map[string]string, data []byte) (Response, error) {
	if !m.Sends(code) {
		return Response{}, nil
	}
	flags := eventFlags[code]
	if macros != nil {
		m.Macros(code, macros)
	}
	m.Send(code, data)
	if m.Protocol&flags.noReply != 0 {
		return Response{}, nil
	}
	r, err := m.response(code == gomilter.CodeEOB)
	if err != nil {
		err = fmt.Errorf("milter event %q: %w", rune(code), err)
	}
	return r, err
}

// modifications are the codes of responses that change a message. They precede the response to its end.
const modifications = "+-2behimq"

var errNoNUL = errors.New("packet without a NUL at the end of a text")

// response reads the response to an event, and the modifications before it.
func (m *Conn) response(mayModify bool) (Response, error) {
	var changes []Change
	for {
		code, data, err := m.Receive()
		if err != nil {
			return Response{}, err
		}
		if !mayModify || !strings.ContainsRune(modifications, rune(code)) {
			r, err := parseResponse(code, data)
			r.Changes = changes
			return r, err
		}
		c, err := parseChange(code, data)
		if err != nil {
			return Response{}, err
		}
		changes = append(changes, c)
	}
}

// parseResponse returns the response of a packet.
func parseResponse(code byte, data []byte) (Response, error) {
	switch r := (Response{Action: gomilter.ActionCode(code)}); r.Action {
	case gomilter.ActContinue:
		return Response{}, nil
	case gomilter.ActReplyCode:
		var ok bool
		if r.Raw, ok = strings.CutSuffix(string(data), "\x00"); !ok {
			return r, errNoNUL
		}
		r.Lines = strings.Split(strings.ReplaceAll(r.Raw, "%%", "%"), "\r\n")
		return r, nil
	case gomilter.ActAccept, gomilter.ActReject, gomilter.ActTempFail, gomilter.ActDiscard:
		return r, nil
	default:
		return r, fmt.Errorf("unexpected response %q", code)
	}
}

// Connect reports the client. An invalid address is a local submission.
func (m *Conn) Connect(name string, client netip.AddrPort, macros map[string]string) (Response, error) {
	data := appendStrings(nil, name)
	a := client.Addr()
	if !a.IsValid() {
		return m.event(gomilter.CodeConn, macros, append(data, byte(gomilter.FamilyUnknown)))
	}
	family := gomilter.FamilyInet
	if a.Is6() {
		family = gomilter.FamilyInet6
	}
	data = binary.BigEndian.AppendUint16(append(data, byte(family)), client.Port())
	return m.event(gomilter.CodeConn, macros, appendStrings(data, a.String()))
}

// Helo reports a HELO or EHLO command.
func (m *Conn) Helo(name string, macros map[string]string) (Response, error) {
	return m.event(gomilter.CodeHelo, macros, appendStrings(nil, name))
}

// Mail reports a MAIL command. The path is as the client sent it, such as "<a@example.org>".
func (m *Conn) Mail(path string, macros map[string]string) (Response, error) {
	return m.event(gomilter.CodeMail, macros, appendStrings(nil, path))
}

// Rcpt reports a RCPT command.
func (m *Conn) Rcpt(path string, macros map[string]string) (Response, error) {
	return m.event(gomilter.CodeRcpt, macros, appendStrings(nil, path))
}

// Data reports the command DATA.
func (m *Conn) Data(macros map[string]string) (Response, error) {
	r, err := m.event(gomilter.CodeData, macros, nil)
	return r, errors.Join(err, m.w.Flush()) // the MTA waits for its client
}

// Header reports a header field. The value begins after the colon; its lines end in LF.
func (m *Conn) Header(name, value string) (Response, error) {
	if m.Protocol&gomilter.OptHeaderLeadingSpace == 0 {
		value = strings.TrimPrefix(value, " ")
	}
	return m.event(gomilter.CodeHeader, nil, appendStrings(nil, name, value))
}

// EndOfHeader reports the end of the header section.
func (m *Conn) EndOfHeader(macros map[string]string) (Response, error) {
	return m.event(gomilter.CodeEOH, macros, nil)
}

// maxChunk is the size of the parts in which MTAs report a body, in bytes.
const maxChunk = 65_535

// Body reports a part of the body, of at most maxChunk bytes.
func (m *Conn) Body(chunk []byte) (Response, error) { return m.event(gomilter.CodeBody, nil, chunk) }

// WholeBody reports a body in parts, up to the first refusal. The lines of the body end in CRLF.
func (m *Conn) WholeBody(body string) (Response, error) {
	for body != "" {
		n := min(len(body), maxChunk)
		if r, err := m.Body([]byte(body[:n])); err != nil || r.Action != 0 {
			return r, err
		}
		body = body[n:]
	}
	return Response{}, nil
}

// EndOfMessage reports the end of the message.
func (m *Conn) EndOfMessage(macros map[string]string) (Response, error) {
	return m.event(gomilter.CodeEOB, macros, nil)
}

// Abort reports that the transaction ended without a message.
func (m *Conn) Abort() error {
	m.Send(gomilter.CodeAbort, nil)
	return m.w.Flush()
}

// Quit ends the session as an MTA does, and closes the connection.
func (m *Conn) Quit() error {
	m.Send(gomilter.CodeQuit, nil)
	return errors.Join(m.w.Flush(), m.c.Close())
}

// Close closes the connection without ending the session.
func (m *Conn) Close() error { return m.c.Close() }
