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

// Reply is what an SMTP client sees of one reply, RFC 5321 section 4.2.
type Reply struct {
	Code     string   // empty: the server has closed the connection
	Enhanced string   // RFC 3463, if the first line has one
	Text     string   // the lines without their codes, joined by spaces
	Lines    []string // as they came
}

func (r Reply) String() string { return strings.Join(r.Lines, "\n") }

// Client is one SMTP connection, driven line by line.
type Client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader

	Greeting Reply
}

// Dial connects from a source address, if that is not empty, and reads the greeting. The connection ends with the test.
func DialSMTP(t testing.TB, addr, source string) *Client {
	t.Helper()
	d := net.Dialer{Timeout: Patience}
	if source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	conn, err := d.Dial("tcp", addr)
	must(t, err)
	c := &Client{t: t, conn: conn, r: bufio.NewReader(conn)}
	t.Cleanup(c.Close)
	c.Greeting = c.Read()
	return c
}

// Close drops the connection.
func (c *Client) Close() { _ = c.conn.Close() }

// Cmd sends a line and returns the reply.
func (c *Client) Cmd(line string) Reply {
	c.t.Helper()
	c.Send(line + "\r\n")
	return c.Read()
}

// Must is Cmd for what has to succeed: the reply's code begins with the digit.
func (c *Client) Must(digit, line string) Reply {
	c.t.Helper()
	r := c.Cmd(line)
	if !strings.HasPrefix(r.Code, digit) {
		c.t.Fatalf("%q: want %syz, got %s", line, digit, r)
	}
	return r
}

// Send writes bytes as they are: several lines at once are pipelining.
func (c *Client) Send(raw string) {
	c.t.Helper()
	must(c.t, c.conn.SetWriteDeadline(time.Now().Add(Patience)))
	_, err := c.conn.Write([]byte(raw))
	must(c.t, err)
}

// Read reads one reply.
func (c *Client) Read() Reply {
	c.t.Helper()
	var r Reply
	must(c.t, c.conn.SetReadDeadline(time.Now().Add(2*Patience)))
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

// enhanced is a status code of RFC 3463. Sendmail puts "<address>... " between the two in its replies to RCPT.
var enhanced = regexp.MustCompile(`^([245]\.\d{1,3}\.\d{1,3})(?: |$)`)

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

// Message sends a message after DATA was accepted, and returns the reply to its final dot. Line ends become CRLF.
func (c *Client) Message(text string) Reply {
	c.t.Helper()
	w := textproto.NewWriter(bufio.NewWriter(rawWriter{c})).DotWriter()
	_, err := w.Write([]byte(text))
	must(c.t, err)
	must(c.t, w.Close())
	return c.Read()
}

// Data is DATA with a message.
func (c *Client) Data(text string) Reply {
	c.t.Helper()
	if r := c.Cmd("DATA"); r.Code != "354" {
		return r
	}
	return c.Message(text)
}

type rawWriter struct{ c *Client }

func (w rawWriter) Write(p []byte) (int, error) {
	w.c.Send(string(p))
	return len(p), nil
}

// StartTLS begins TLS, showing certificates if the server asks for one. The next thing to say is EHLO.
func (c *Client) StartTLS(show ...tls.Certificate) {
	c.t.Helper()
	c.Must("2", "STARTTLS")
	conn := tls.Client(c.conn, &tls.Config{
		InsecureSkipVerify: true, // the certificate is the site's own
		Certificates:       show,
	})
	must(c.t, conn.SetDeadline(time.Now().Add(Patience)))
	must(c.t, conn.Handshake())
	must(c.t, conn.SetDeadline(time.Time{}))
	c.conn, c.r = conn, bufio.NewReader(conn)
}
