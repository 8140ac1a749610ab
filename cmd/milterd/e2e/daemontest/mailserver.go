package daemontest

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"milterd/milter/miltertest"
)

// MailServer is a real mail server with the daemon that filters its mail.
type MailServer struct {
	*miltertest.MTA
	Site   *miltertest.Site
	Daemon *Daemon
}

// Connect connects from a source address and sends EHLO.
func (m *MailServer) Connect(t testing.TB, source, helo string) *miltertest.SMTPClient {
	t.Helper()
	c := miltertest.DialSMTP(t, m.Addr, source)
	c.Must("2", "EHLO "+helo)
	return c
}

// ConnectGood connects as the good client of World.
func (m *MailServer) ConnectGood(t testing.TB) *miltertest.SMTPClient {
	t.Helper()
	return m.Connect(t, GoodClient, GoodHelo)
}

// Deliver sends a good message and returns it as it is in the user's mailbox.
func (m *MailServer) Deliver(t testing.TB, c *miltertest.SMTPClient, from, user string) string {
	t.Helper()
	Envelope(c, from, user+"@mx.test")
	return m.Send(t, c, user)
}

// Send is Deliver for a transaction that has its envelope.
func (m *MailServer) Send(t testing.TB, c *miltertest.SMTPClient, user string) string {
	t.Helper()
	subject, msg := UniqueMessage()
	SendMessage(t, c, msg)
	got := m.Delivered(t, user, subject)
	if !strings.HasSuffix(strings.TrimRight(got, "\n"), "\n\nThe body.") {
		t.Errorf("delivered message was changed: %q", got)
	}
	return got
}

// Envelope sends MAIL and RCPT commands, which must be accepted.
func Envelope(c *miltertest.SMTPClient, from string, rcpts ...string) {
	c.Must("2", "MAIL FROM:<"+from+">")
	for _, r := range rcpts {
		c.Must("2", "RCPT TO:<"+r+">")
	}
}

// SendMessage sends a message, which must be accepted.
func SendMessage(t testing.TB, c *miltertest.SMTPClient, message string) {
	t.Helper()
	if r := c.Data(message); r.Code != "250" {
		t.Fatalf("message: %s", r)
	}
}

// WantReply ends the test unless a reply has these codes, such as "550 5.7.1", and contains a text.
func WantReply(t testing.TB, r miltertest.Reply, codes, text string) {
	t.Helper()
	if r.Code+" "+r.Enhanced != codes || !strings.Contains(r.Text, text) {
		t.Fatalf("got %q, want %s with %q", r, codes, text)
	}
}

// serial is the number of the last unique message.
var serial atomic.Int64

// UniqueMessage returns a good message with changes to its header. No other message has its subject.
func UniqueMessage(changes ...Field) (subject string, msg string) {
	subject = fmt.Sprintf("message %d of the test", serial.Add(1))
	return subject, Message(GoodHeader(append([]Field{{"Subject", subject}}, changes...)...))
}

// ServeMailHost speaks SMTP as the mail host of a domain whose only user is ann, until the client quits. It refuses
// commands that a callout must not send.
func ServeMailHost(conn net.Conn) {
	defer conn.Close()
	fmt.Fprint(conn, "220 mx.callout.test ESMTP\r\n")
	for in := bufio.NewScanner(conn); in.Scan(); {
		line := strings.ToUpper(in.Text())
		reply := "250 2.0.0 ok"
		switch {
		case strings.HasPrefix(line, "RCPT TO:<ANN@"):
		case strings.HasPrefix(line, "RCPT"):
			reply = "550 5.1.1 no such user"
		case strings.HasPrefix(line, "DATA"), strings.HasPrefix(line, "VRFY"):
			reply = "554 5.7.1 this is no callout"
		}
		fmt.Fprintf(conn, "%s\r\n", reply)
		if line == "QUIT" {
			return
		}
	}
}
