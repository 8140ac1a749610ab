package miltertest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// SplitListener turns a listener, as milterd's configuration spells it, into what net.Dial takes.
func SplitListener(listener string) (network, addr string) {
	kind, rest, _ := strings.Cut(listener, ":")
	if kind == "unix" || kind == "local" {
		return "unix", rest
	}
	port, host, _ := strings.Cut(rest, "@")
	return "tcp", net.JoinHostPort(host, port)
}

// MilterClient speaks the milter protocol as an MTA does, or as none should: for what an MTA never lets through.
type MilterClient struct {
	net.Conn
	r        *bufio.Reader
	Protocol uint32   // what was agreed on: which events are unwanted, and which get no answer
	Changes  []Packet // to messages, that came before the answers to their ends
}

// Packet is what travels: a length, a code, and data.
type Packet struct {
	Code byte
	Data []byte
}

// Text is the data up to its NUL, as a reply has it.
func (p Packet) Text() string { return strings.TrimSuffix(string(p.Data), "\x00") }

// DialMilter connects, without saying anything.
func DialMilter(t testing.TB, listener string) *MilterClient {
	t.Helper()
	network, addr := SplitListener(listener)
	conn, err := net.DialTimeout(network, addr, Patience)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &MilterClient{Conn: conn, r: bufio.NewReader(conn)}
}

// Put writes one packet.
func (c *MilterClient) Put(code byte, data string) error {
	buf := binary.BigEndian.AppendUint32(nil, uint32(len(data)+1))
	buf = append(buf, code)
	if err := c.SetWriteDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	_, err := c.Write(append(buf, data...))
	return err
}

// Get reads one packet.
func (c *MilterClient) Get() (Packet, error) {
	if err := c.SetReadDeadline(time.Now().Add(2 * Patience)); err != nil {
		return Packet{}, err
	}
	var length [4]byte
	if _, err := io.ReadFull(c.r, length[:]); err != nil {
		return Packet{}, err
	}
	n := binary.BigEndian.Uint32(length[:])
	const most = 1 << 20
	if n == 0 || n > most {
		return Packet{}, fmt.Errorf("packet of %d octets", n)
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(c.r, buf); err != nil {
		return Packet{}, err
	}
	return Packet{buf[0], buf[1:]}, nil
}

// offer is what Postfix and Sendmail offer: version 6, all actions, all of the protocol.
const offer = "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff"

// Negotiate agrees on what is sent.
func (c *MilterClient) Negotiate() error {
	if err := c.Put('O', offer); err != nil {
		return err
	}
	p, err := c.Get()
	if err != nil {
		return err
	}
	const least = 12
	if p.Code != 'O' || len(p.Data) < least {
		return fmt.Errorf("bad answer to the offer: %q", p)
	}
	c.Protocol = binary.BigEndian.Uint32(p.Data[8:])
	return nil
}

// events are the bits of the protocol mask that switch an event off, and its answer.
var events = map[byte]struct{ off, silent uint32 }{
	'C': {0x1, 0x1000},
	'H': {0x2, 0x2000},
	'M': {0x4, 0x4000},
	'R': {0x8, 0x8000},
	'B': {0x10, 0x80000},
	'L': {0x20, 0x80},
	'N': {0x40, 0x40000},
}

// Event sends an event, unless the filter does not want it, and returns the answer: 'c' where none is due.
func (c *MilterClient) Event(code byte, data string) (Packet, error) {
	e := events[code]
	if c.Protocol&e.off != 0 {
		return Packet{Code: 'c'}, nil
	}
	if err := c.Put(code, data); err != nil {
		return Packet{}, err
	}
	if c.Protocol&e.silent != 0 {
		return Packet{Code: 'c'}, nil
	}
	for {
		p, err := c.Get()
		if err != nil || code != 'E' || !strings.ContainsRune("+-2behimq", rune(p.Code)) {
			return p, err
		}
		c.Changes = append(c.Changes, p)
	}
}

// Dialogue is one session with one transaction, as an MTA would report it.
type Dialogue struct {
	Client  string // IP address
	Name    string // of the client, as the MTA found it
	Helo    []string
	Auth    string // authenticated as
	GivenUp int    // how often the client first gives the transaction up by RSET, after its recipients
	From    string
	Unknown []string // recipients that the MTA refuses, before the others
	Rcpt    []string
	Header  [][2]string // name and value, without the space after the colon
}

// errEarly tells that the filter broke off.
var errEarly = errors.New("unexpected answer")

// Step is the outcome of a dialogue.
type Step struct {
	Event   byte // that was not answered by "continue": C, H, M, R, L, N or E; zero: everything passed
	Packet       // its answer
	Slowest time.Duration
}

// Run plays the dialogue up to the first refusal.
func (d Dialogue) Run(c *MilterClient) (Step, error) {
	var s Step
	if err := c.Negotiate(); err != nil {
		return s, err
	}
	const leadingSpace = 0x100000 // the filter takes values as they stand after the colon
	space := ""
	if c.Protocol&leadingSpace != 0 {
		space = " "
	}
	for _, e := range d.events(space) {
		if e.Code == 'D' || e.Code == 'A' { // macros and ABORT have no answer
			if err := c.Put(e.Code, string(e.Data)); err != nil {
				return s, err
			}
			continue
		}
		began := time.Now()
		p, err := c.Event(e.Code, string(e.Data))
		if err != nil {
			return s, fmt.Errorf("%c %.60q: %w", e.Code, e.Data, err)
		}
		s.Slowest = max(s.Slowest, time.Since(began))
		switch p.Code {
		case 'c':
		case 'y', 'r', 't':
			s.Event, s.Packet = e.Code, p
			return s, nil
		default:
			return s, fmt.Errorf("%w: %q to %c", errEarly, p, e.Code)
		}
	}
	return s, nil
}

// events are the packets of the dialogue, with macros. Header values begin with the space.
func (d Dialogue) events(space string) []Packet {
	var all []Packet
	add := func(code byte, strs ...string) {
		data := strings.Join(strs, "\x00")
		if len(strs) > 0 && code != 'E' {
			data += "\x00"
		}
		all = append(all, Packet{code, []byte(data)})
	}
	macros := func(stage string, kv ...string) {
		all = append(all, Packet{'D', []byte(stage + strings.Join(kv, "\x00") + "\x00")})
	}
	family, addr := "4", d.Client
	if strings.Contains(addr, ":") {
		family, addr = "6", "IPv6:"+addr
	}
	macros("C", "j", "mx.test", "{client_addr}", addr, "{client_name}", d.Name, "{client_ptr}", d.Name)
	add('C', d.Name, family+"\x30\x39"+strings.TrimPrefix(addr, "IPv6:"))
	for _, h := range d.Helo {
		macros("H")
		add('H', h)
	}
	envelope := func() {
		if d.Auth != "" {
			macros("M", "i", "Q1", "{auth_type}", "PLAIN", "{auth_authen}", d.Auth)
		} else {
			macros("M", "i", "Q1")
		}
		add('M', "<"+d.From+">")
		for _, r := range d.Unknown {
			macros("R", "i", "Q1", "{rcpt_mailer}", "error", "{rcpt_host}", "5.1.1", "{rcpt_addr}", "550 5.1.1 User unknown")
			add('R', "<"+r+">")
		}
		for _, r := range d.Rcpt {
			macros("R", "i", "Q1", "{rcpt_mailer}", "local", "{rcpt_host}", "", "{rcpt_addr}", r)
			add('R', "<"+r+">")
		}
	}
	for range d.GivenUp {
		envelope()
		add('A')
	}
	envelope()
	for _, f := range d.Header {
		add('L', f[0], space+f[1])
	}
	add('N')
	add('E')
	return all
}
