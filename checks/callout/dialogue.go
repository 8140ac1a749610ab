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

// How long one step may take. RFC 5321 section 4.5.3.2 has minutes, for servers that must deliver; who takes longer than
// this gives no answer that we could use. A pause before the greeting is shorter, as a rule.
const (
	connectWait = 10 * time.Second
	replyWait   = 20 * time.Second
)

// dialogue is one connection to a mail host. It is written on the bare connection: net/smtp bounds neither the length of a
// line nor the number of lines, and go-smtp not the latter; both keep no accepting reply, hide whether the host refused the
// greeting, EHLO or HELO, and add parameters to MAIL.
//
// Each step returns whether to go on. If not, answer says why.
type dialogue struct {
	*prober
	ctx      context.Context
	conn     net.Conn
	in       *bufio.Reader
	answer   answer
	broken   bool // the host does not listen any more
	startTLS bool // the host offers it
	secured  bool
	named    bool // the sender is an address of ours, not <>
}

// ask has a dialogue with a mail host about the address in question.
func (p *prober) ask(ctx context.Context, host string, addr netip.Addr) answer {
	d := &dialogue{prober: p, ctx: ctx, answer: answer{Host: host, Addr: addr.String()}}
	if !d.connect(netip.AddrPortFrom(addr, uint16(p.Port))) {
		return d.answer
	}
	if d.greeting() && d.helo() && d.mail() && d.madeUp() {
		d.rcpt(atRcpt, p.question.mailbox)
	}
	if d.broken {
		d.conn.Close()
	} else {
		go d.quit() // nobody waits for a farewell
	}
	return d.answer
}

func (d *dialogue) connect(to netip.AddrPort) bool {
	d.reach(atConnect)
	ctx, cancel := context.WithTimeout(d.ctx, connectWait)
	defer cancel()
	conn, err := d.env.Dial(ctx, "tcp", to.String())
	if err != nil {
		d.fail(err)
		if errors.Is(err, syscall.ECONNREFUSED) {
			d.answer.Kind = isRefused
		}
		return false
	}
	d.conn = &limited{conn, maxOctets}
	d.in = bufio.NewReaderSize(d.conn, maxLine)
	return true
}

func (d *dialogue) greeting() bool { return d.must(atGreeting, "") }

// helo introduces us, to servers that do not know EHLO (a 50z reply) by HELO: RFC 5321 section 3.2.
func (d *dialogue) helo() bool {
	r, ok := d.talk(atHelo, "EHLO "+d.env.Site.Hostname)
	if ok && r.Code >= 500 && r.Code < 510 {
		return d.must(atHelo, "HELO "+d.env.Site.Hostname)
	}
	d.startTLS = ok && r.class() == 2 && r.offers("STARTTLS")
	return ok && d.accepts(r)
}

// mail begins a transaction, with our own address if the null reverse-path is refused for good.
func (d *dialogue) mail() bool {
	if d.named {
		return d.byName()
	}
	r, ok := d.talk(atMail, "MAIL FROM:<>")
	if ok && d.wantsTLS(r) {
		return d.secure() && d.mail()
	}
	if ok && r.class() == 5 && d.From != "" {
		return d.byName()
	}
	return ok && d.accepts(r)
}

// byName begins a transaction with our own address.
func (d *dialogue) byName() bool {
	d.named = true
	d.flight.detach()
	return d.must(atMail, "MAIL FROM:<"+mailbox(checks.ParseAddress(d.From))+">")
}

// madeUp asks about an address that does not exist. It ends the dialogue if that is accepted, or if we are refused.
func (d *dialogue) madeUp() bool {
	if !d.Random {
		return true
	}
	d.rcpt(atRandom, d.random()+"@"+d.question.domain)
	switch d.answer.Kind {
	case isAccepted:
		d.answer.Kind = isAcceptAll
		return false
	case isRejected:
		return true
	case isTemporary: // whatever the reason, the address itself may still get a definite answer
		return !d.broken
	default:
		return false
	}
}

// rcpt asks about an address.
func (d *dialogue) rcpt(stage, mailbox string) {
	r, ok := d.talk(stage, "RCPT TO:<"+mailbox+">")
	if ok && d.wantsTLS(r) {
		if !d.secure() || !d.mail() {
			return
		}
		r, ok = d.talk(stage, "RCPT TO:<"+mailbox+">")
	}
	if ok && d.From != "" && !d.named && r.refusesNull() { // some hosts wait for RCPT with what they have against MAIL
		if !d.must(atMail, "RSET") || !d.byName() {
			return
		}
		r, ok = d.talk(stage, "RCPT TO:<"+mailbox+">")
	}
	if !ok {
		return
	}
	switch {
	case r.class() == 2:
		d.answer.Kind = isAccepted
	case r.class() == 5 && r.about(mailbox) == aboutAddress:
		d.answer.Kind = isRejected
	case r.class() == 5 && r.about(mailbox) == aboutUs:
		d.answer.Kind = isRefused
	default:
		d.answer.Kind = isTemporary
	}
}

func (d *dialogue) wantsTLS(r reply) bool { return d.startTLS && !d.secured && r.needsTLS() }

// secure encrypts the connection for a host that wants nothing said in clear text (RFC 3207). Nothing of ours is secret, so
// the certificate may be anybody's: opportunistic security, RFC 7435.
func (d *dialogue) secure() bool {
	if !d.must(atStartTLS, "STARTTLS") {
		return false
	}
	if d.in.Buffered() > 0 { // RFC 3207 section 4.2: it could be anybody's
		d.fail(errEarly)
		return false
	}
	conn := tls.Client(d.conn, &tls.Config{ServerName: d.answer.Host, InsecureSkipVerify: true})
	ctx, cancel := context.WithTimeout(d.ctx, replyWait)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		d.fail(err)
		return false
	}
	d.conn, d.secured = conn, true
	d.in.Reset(conn)
	return d.helo()
}

// quit ends the dialogue as RFC 5321 section 4.1.1.10 wants.
func (d *dialogue) quit() {
	defer d.conn.Close()
	_, _ = d.exchange(context.WithoutCancel(d.ctx), "QUIT")
}

// must says a line, if it is not empty, and goes on with a 2yz reply only.
func (d *dialogue) must(stage, line string) bool {
	r, ok := d.talk(stage, line)
	return ok && d.accepts(r)
}

// accepts judges a reply before RCPT. No such refusal is about the address.
func (d *dialogue) accepts(r reply) bool {
	switch {
	case r.class() == 2:
		return true
	case r.class() == 4:
		d.answer.Kind = isTemporary
	case r.class() == 5 && r.isPolicy(""):
		d.answer.Kind = isRefused
	default:
		d.answer.Kind = isFailed
	}
	return false
}

// talk says a line, if it is not empty, and notes the reply.
func (d *dialogue) talk(stage, line string) (reply, bool) {
	d.reach(stage)
	r, err := d.exchange(d.ctx, line)
	if err != nil {
		d.fail(err)
		return reply{}, false
	}
	d.answer.Reply = r.String()
	d.broken = r.Code == 421 // RFC 5321 section 3.8: the host closes
	d.note(line)
	if d.broken {
		d.answer.Kind = isTemporary
	}
	return r, !d.broken
}

// exchange says a line, if it is not empty, and reads the reply. The context cuts the connection short, so that who sees it
// cut sees the context's end too.
func (d *dialogue) exchange(ctx context.Context, line string) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, replyWait)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = d.conn.SetDeadline(time.Unix(1, 0)) })()
	if line != "" {
		if _, err := io.WriteString(d.conn, line+"\r\n"); err != nil {
			return reply{}, err
		}
	}
	return readReply(d.in)
}

// reach notes how far the dialogue came, for those who wait.
func (d *dialogue) reach(stage string) {
	d.answer.Stage, d.answer.Reply = stage, ""
	d.flight.progress.Store(&progress{d.answer.Host, d.answer.Addr, stage})
}

// fail ends the dialogue without a reply.
func (d *dialogue) fail(err error) {
	d.broken = true
	d.answer.Kind, d.answer.Reply = isFailed, cause(err)
	d.note("")
}

// note logs a step.
func (d *dialogue) note(line string) {
	a := d.answer
	d.env.Log.WithFields(logrus.Fields{
		"check": Info.Name, "mx": a.Host, "address": a.Addr, "at": a.Stage, "said": checks.Clean(line, maxShown), "reply": a.Reply,
	}).Debug("callout step")
}

// cause tells in a few words why there was no reply.
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

// randomLocal makes a local part that nobody has. What it is for can be read from it.
func randomLocal() string { return "callout-test-" + strings.ToLower(rand.Text()[:16]) }
