package callout

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// Time limits of one step. RFC 5321 section 4.5.3.2 has minutes, for servers that must deliver. Half of replyWait would lose
// hosts that delay their greeting against spam; double would exceed the time of most flights with one slow host.
const (
	connectWait = 10 * time.Second
	replyWait   = 20 * time.Second
)

// smtpClient is one connection to a mail host. It does not use net/smtp or go-smtp: these do not limit the number of lines of a
// reply, keep no reply that accepts, and add parameters to MAIL.
//
// Each step reports whether to go on. If not, answer has the result.
type smtpClient struct {
	*prober
	ctx           context.Context
	conn          net.Conn
	in            *bufio.Reader
	answer        answer
	closed        bool // by the host, or because it broke the protocol
	offersTLS     bool
	encrypted     bool
	hasOwnAddress bool // MAIL has Settings.From
}

// ask asks a mail host about the address of the question.
func (p *prober) ask(ctx context.Context, host string, addr netip.Addr) answer {
	c := &smtpClient{prober: p, ctx: ctx, answer: answer{Host: host, Addr: addr.String()}}
	if !c.connect(netip.AddrPortFrom(addr, uint16(p.Port))) {
		return c.answer
	}
	if c.require(atGreeting, "") && c.helo() && c.mail() && c.rcptRandom() {
		c.rcpt(atRcpt, p.question.mailbox)
	}
	if c.closed {
		c.conn.Close()
	} else {
		go c.quit() // the answer does not wait for it
	}
	return c.answer
}

func (c *smtpClient) connect(to netip.AddrPort) bool {
	c.begin(atConnect)
	ctx, cancel := context.WithTimeout(c.ctx, connectWait)
	defer cancel()
	conn, err := c.env.Dial(ctx, "tcp", to.String())
	if err != nil {
		c.fail(err)
		if errors.Is(err, syscall.ECONNREFUSED) {
			c.answer.Result = resultRefused
		}
		return false
	}
	c.conn = &limitedConn{Conn: conn, left: maxBytes}
	c.in = bufio.NewReaderSize(c.conn, maxLine)
	return true
}

// helo sends EHLO, or HELO to a server that does not know EHLO (a 50z reply): RFC 5321 section 3.2.
func (c *smtpClient) helo() bool {
	r, ok := c.command(atHelo, "EHLO "+c.env.Site.Hostname)
	if ok && r.Code >= 500 && r.Code < 510 {
		return c.require(atHelo, "HELO "+c.env.Site.Hostname)
	}
	c.offersTLS = ok && r.class() == 2 && r.offers("STARTTLS")
	return ok && c.accepts(r)
}

// mail begins a transaction. If the null reverse-path is refused with 5yz, it uses Settings.From.
func (c *smtpClient) mail() bool {
	if c.hasOwnAddress {
		return c.mailWithOwnAddress()
	}
	switch r, ok := c.command(atMail, "MAIL FROM:<>"); {
	case !ok:
		return false
	case c.wantsTLS(r):
		return c.startTLS() && c.mail()
	case r.class() == 5 && c.From != "":
		return c.mailWithOwnAddress()
	default:
		return c.accepts(r)
	}
}

func (c *smtpClient) mailWithOwnAddress() bool {
	c.hasOwnAddress = true
	return c.require(atMail, "MAIL FROM:<"+mailbox(checks.ParseAddress(c.From))+">")
}

// rcptRandom asks about an address that does not exist. If that is accepted, the host accepts every address.
func (c *smtpClient) rcptRandom() bool {
	if !c.Random {
		return true
	}
	if !c.rcpt(atRandom, c.random()+"@"+c.question.domain) {
		return false
	}
	if c.answer.Result == resultAccepted {
		c.answer.Result = resultAcceptAll
	}
	// If the result is temporary, the reply to the address itself may be definite.
	return c.answer.Result == resultRejected || c.answer.Result == resultTemporary
}

// rcpt asks about an address and sets the result. It reports whether the host replied to RCPT. It asks again with TLS and with
// Settings.From, each once, if the reply asks for that.
func (c *smtpClient) rcpt(step, mailbox string) bool {
	for {
		r, ok := c.command(step, "RCPT TO:<"+mailbox+">")
		switch {
		case !ok:
			return false
		case c.wantsTLS(r):
			if !c.startTLS() || !c.mail() {
				return false
			}
		case c.From != "" && !c.hasOwnAddress && r.refusesNull(): // Postfix refuses MAIL only at RCPT
			if !c.require(atMail, "RSET") || !c.mailWithOwnAddress() {
				return false
			}
		default:
			c.answer.Result = r.toRcpt(mailbox)
			return true
		}
	}
}

func (c *smtpClient) wantsTLS(r reply) bool { return c.offersTLS && !c.encrypted && r.needsTLS() }

// startTLS encrypts the connection, for a host that requires it (RFC 3207). The certificate is not verified, as no secrets are
// sent: opportunistic security, RFC 7435.
func (c *smtpClient) startTLS() bool {
	if !c.require(atStartTLS, "STARTTLS") {
		return false
	}
	if c.in.Buffered() > 0 { // RFC 3207 section 4.2: an attacker may have sent it
		c.fail(errEarlyData)
		return false
	}
	conn := tls.Client(c.conn, &tls.Config{ServerName: c.answer.Host, InsecureSkipVerify: true})
	ctx, cancel := context.WithTimeout(c.ctx, replyWait)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		c.fail(err)
		return false
	}
	c.conn, c.encrypted = conn, true
	c.in.Reset(conn)
	return c.helo()
}

// quit ends the session, RFC 5321 section 4.1.1.10.
func (c *smtpClient) quit() {
	defer c.conn.Close()
	_, _ = c.exchange(context.WithoutCancel(c.ctx), "QUIT")
}

// require sends a line, unless it is empty, and reports whether the reply is 2yz.
func (c *smtpClient) require(step, line string) bool {
	r, ok := c.command(step, line)
	return ok && c.accepts(r)
}

// accepts reports whether a reply before RCPT is 2yz, and sets the result if it is not: such a reply is not about the address.
func (c *smtpClient) accepts(r reply) bool {
	switch {
	case r.class() == 2:
		return true
	case r.class() == 4:
		c.answer.Result = resultTemporary
	case r.class() == 5 && r.isPolicy(""):
		c.answer.Result = resultRefused
	default:
		c.answer.Result = resultFailed
	}
	return false
}

// command sends a line, unless it is empty, and returns the reply. ok is false if there is none, or if the host closes the
// connection (421, RFC 5321 section 3.8).
func (c *smtpClient) command(step, line string) (r reply, ok bool) {
	c.begin(step)
	r, err := c.exchange(c.ctx, line)
	if err != nil {
		c.fail(err)
		return reply{}, false
	}
	c.answer.Reply = r.String()
	c.log(line)
	if r.Code == 421 {
		c.closed = true
		c.answer.Result = resultTemporary
	}
	return r, !c.closed
}

// exchange sends a line, unless it is empty, and reads the reply.
func (c *smtpClient) exchange(ctx context.Context, line string) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, replyWait)
	defer cancel()
	// The deadline is set when ctx is done, so callers that see the error see a done ctx.
	defer context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })()
	if line != "" {
		if _, err := io.WriteString(c.conn, line+"\r\n"); err != nil {
			return reply{}, err
		}
	}
	return readReply(c.in)
}

// begin records the current step, also for the sessions that wait.
func (c *smtpClient) begin(step string) {
	c.answer.Step, c.answer.Reply = step, ""
	progress := c.answer
	c.flight.progress.Store(&progress)
}

// fail ends the session without a reply.
func (c *smtpClient) fail(err error) {
	c.closed = true
	c.answer.Result, c.answer.Reply = resultFailed, cause(err)
	c.log("")
}

// log logs a step at level debug.
func (c *smtpClient) log(line string) {
	a := c.answer
	c.env.Log.WithFields(logrus.Fields{
		"check": Info.Name, "mx": a.Host, "address": a.Addr, "at": a.Step, "said": checks.Clean(line, maxShown), "reply": a.Reply,
	}).Debug("callout step")
}

// cause returns why there was no reply, in a few words.
func cause(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "closed the connection"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused the connection"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return checks.Clean(err.Error(), maxShown)
}

// randomPrefix begins the local parts of random addresses. It shows the mail host what they are for.
const randomPrefix = "callout-test-"

// randomLocal returns a local part that does not exist.
func randomLocal() string { return randomPrefix + strings.ToLower(rand.Text()[:16]) }
