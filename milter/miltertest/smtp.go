package miltertest

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/textproto"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Reply is an SMTP reply, RFC 5321 section 4.2.
type Reply struct {
	Code     string   // empty if the server closed the connection
	Enhanced string   // enhanced status code, RFC 3463; empty if there is none
	Text     string   // the lines without their codes, joined by spaces
	Lines    []string // as received
}

// String returns the lines.
func (r Reply) String() string { return strings.Join(r.Lines, "\n") }

// SMTPClient is an SMTP connection. Its methods fail the test on errors of the network.
type SMTPClient struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader

	Greeting Reply
}

// DialSMTP connects to a server and reads the greeting. The source is the client's IP address; if it is empty, the system
// chooses one. The connection is closed at the end of the test.
func DialSMTP(t testing.TB, addr, source string) *SMTPClient {
	t.Helper()
	d := net.Dialer{Timeout: WaitTimeout}
	if source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	conn, err := d.Dial("tcp", addr)
	must(t, err)
	c := &SMTPClient{t: t, conn: conn, r: bufio.NewReader(conn)}
	t.Cleanup(c.Close)
	c.Greeting = c.Read()
	return c
}

// Close closes the connection.
func (c *SMTPClient) Close() { _ = c.conn.Close() }

// Cmd sends a command and returns the reply.
func (c *SMTPClient) Cmd(line string) Reply {
	c.t.Helper()
	c.Send(line + "\r\n")
	return c.Read()
}

// Must is Cmd for a command whose reply code must begin with the digit.
func (c *SMTPClient) Must(digit, line string) Reply {
	c.t.Helper()
	r := c.Cmd(line)
	if !strings.HasPrefix(r.Code, digit) {
		c.t.Fatalf("%q: want %syz, got %s", line, digit, r)
	}
	return r
}

// Send sends text as it is.
func (c *SMTPClient) Send(raw string) {
	c.t.Helper()
	must(c.t, c.conn.SetWriteDeadline(time.Now().Add(WaitTimeout)))
	_, err := c.conn.Write([]byte(raw))
	must(c.t, err)
}

// Read reads one reply.
func (c *SMTPClient) Read() Reply {
	c.t.Helper()
	var r Reply
	must(c.t, c.conn.SetReadDeadline(time.Now().Add(2*WaitTimeout)))
	for {
		line, err := c.r.ReadString('\n')
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			c.t.Fatalf("no reply in time after %q", r.Lines)
		}
		if err != nil {
			return Reply{Lines: r.Lines}
		}
		line = strings.TrimRight(line, "\r\n")
		r.Lines = append(r.Lines, line)
		if len(line) < 4 || line[3] != '-' {
			break
		}
	}
	r.parse()
	return r
}

// enhanced matches an enhanced status code, RFC 3463. Sendmail repeats it after "<address>... " in replies to RCPT.
var enhanced = regexp.MustCompile(`^([245]\.\d{1,3}\.\d{1,3})(?: |$)`)

// parse sets the other fields from Lines.
func (r *Reply) parse() {
	var text []string
	for _, line := range r.Lines {
		if len(line) < 4 {
			r.Code = line
			return
		}
		r.Code, line = line[:3], line[4:]
		if m := enhanced.FindString(line); m != "" {
			r.Enhanced, line = strings.TrimSpace(m), line[len(m):]
		}
		text = append(text, line)
	}
	r.Text = strings.Join(text, " ")
}

// Message sends a message after an accepted DATA command and returns the reply to it. It converts line ends to CRLF.
func (c *SMTPClient) Message(text string) Reply {
	c.t.Helper()
	must(c.t, c.conn.SetWriteDeadline(time.Now().Add(WaitTimeout)))
	w := textproto.NewWriter(bufio.NewWriter(c.conn)).DotWriter()
	_, err := w.Write([]byte(text))
	must(c.t, err)
	must(c.t, w.Close())
	return c.Read()
}

// Data sends the command DATA and a message. It returns the reply that refuses the command, or the one to the message.
func (c *SMTPClient) Data(text string) Reply {
	c.t.Helper()
	if r := c.Cmd("DATA"); r.Code != "354" {
		return r
	}
	return c.Message(text)
}

// StartTLS starts TLS. The certificates are sent if the server asks for one. The next command must be EHLO.
func (c *SMTPClient) StartTLS(certificates ...tls.Certificate) {
	c.t.Helper()
	c.Must("2", "STARTTLS")
	conn := tls.Client(c.conn, &tls.Config{
		InsecureSkipVerify: true, // self-signed, see Site.Certificate
		Certificates:       certificates,
	})
	must(c.t, conn.SetDeadline(time.Now().Add(WaitTimeout)))
	must(c.t, conn.Handshake())
	must(c.t, conn.SetDeadline(time.Time{}))
	c.conn, c.r = conn, bufio.NewReader(conn)
}
