package daemontest

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"milterd/milter/miltertest"
)

// Client is a client of the mail server that the test plays. Its session is reported to the daemon command by command.
type Client struct{ *miltertest.Conn }

// Connect reports a client that sends EHLO with GoodHelo.
func (d *Daemon) Connect(client string) (Client, error) { return d.ConnectAs(client, GoodHelo) }

// ConnectAs reports a client that sends EHLO with a name.
func (d *Daemon) ConnectAs(client, helo string) (Client, error) {
	network, addr := miltertest.SplitListener(d.Listener)
	conn, err := miltertest.Dial(network, addr, miltertest.WaitTimeout)
	if err != nil {
		return Client{}, err
	}
	ip, err := netip.ParseAddr(client)
	if err == nil {
		macros := map[string]string{"j": "mx.test", "{client_addr}": client}
		_, err = conn.Connect("["+client+"]", netip.AddrPortFrom(ip, 12345), macros)
	}
	if err == nil {
		_, err = conn.Helo(helo, map[string]string{})
	}
	if err != nil {
		conn.Close()
	}
	return Client{conn}, err
}

// Envelope begins a transaction with one recipient. It returns the reply that refuses it, or "".
func (c Client) Envelope(from, to string) (string, error) {
	if r, err := c.Mail("<"+from+">", map[string]string{"i": "Q1"}); err != nil || r.Action != 0 {
		return ReplyText(r), err
	}
	return c.Recipient(to)
}

// Recipient adds a recipient that the mail server accepts. It returns the daemon's reply, or "" if it accepts.
func (c Client) Recipient(to string) (string, error) {
	r, err := c.Rcpt("<"+to+">", miltertest.RcptMacros("Q1", to))
	return ReplyText(r), err
}

// UnknownRecipient reports a recipient that the mail server refuses.
func (c Client) UnknownRecipient(to string) error {
	_, err := c.Rcpt("<"+to+">", miltertest.UnknownRcptMacros("Q1"))
	return err
}

// SendMessage sends a good message after an envelope. It returns the reply that refuses it, or "".
func (c Client) SendMessage() (string, error) {
	if r, err := c.Data(nil); err != nil || r.Action != 0 {
		return ReplyText(r), err
	}
	for _, f := range GoodHeader() {
		if r, err := c.Header(f[0], " "+f[1]); err != nil || r.Action != 0 {
			return ReplyText(r), err
		}
	}
	if r, err := c.EndOfHeader(nil); err != nil || r.Action != 0 {
		return ReplyText(r), err
	}
	r, err := c.EndOfMessage(nil)
	return ReplyText(r), err
}

// ReplyText returns the lines of a reply, joined by spaces, or "" if the daemon does not refuse.
func ReplyText(r miltertest.Response) string {
	if r.Refused() && r.Lines == nil {
		return "refused without a reply" // the MTA writes one
	}
	return strings.Join(r.Lines, " ")
}

// Mail plays a session with one good message. It returns the first refusal, or "".
func (d *Daemon) Mail(client, from, to string) (string, error) {
	c, err := d.Connect(client)
	if err != nil {
		return "", err
	}
	defer c.Close()
	r, err := c.Envelope(from, to)
	if r != "" || err != nil {
		return r, err
	}
	return c.SendMessage()
}

// MustAccept ends the test unless the daemon accepts a message.
func (d *Daemon) MustAccept(t testing.TB, client, from, to string) {
	t.Helper()
	if r := d.mustMail(t, client, from, to); r != "" {
		t.Fatalf("mail of %s from <%s> to <%s> got %q", client, from, to, r)
	}
}

// MustRefuse ends the test unless the daemon refuses a message with a reply that begins with start and contains text. It
// returns the reply.
func (d *Daemon) MustRefuse(t testing.TB, client, from, to, start, text string) string {
	t.Helper()
	r := d.mustMail(t, client, from, to)
	if r == "" || !strings.HasPrefix(r, start) || !strings.Contains(r, text) {
		t.Fatalf("mail of %s from <%s> to <%s> got %q, want %q with %q", client, from, to, r, start, text)
	}
	return r
}

func (d *Daemon) mustMail(t testing.TB, client, from, to string) string {
	t.Helper()
	r, err := d.Mail(client, from, to)
	if err != nil {
		t.Fatalf("mail from %s: %v\n%s", client, err, d.Output())
	}
	return r
}

// GuessRecipients reports n unknown recipients of a client, and then alice. It returns the reply for alice.
func (d *Daemon) GuessRecipients(t testing.TB, client string, n int) string {
	t.Helper()
	c, err := d.Connect(client)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Mail("<"+GoodSender+">", map[string]string{"i": "Q1"}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := c.UnknownRecipient(fmt.Sprintf("guess%d@mx.test", i)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := c.Recipient("alice@mx.test")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Limit is the default limit for each kind of behaviour that the check counters counts.
const Limit = 10

// BlockedUntil matches the end of a block in a reply.
var BlockedUntil = regexp.MustCompile(`blocked until (\d{4}-\d\d-\d\d \d\d:\d\d UTC)`)

// GoodSession returns a session in which every check passes, with changes.
func GoodSession(changes ...func(*miltertest.Session)) miltertest.Session {
	s := miltertest.Session{
		Client: GoodClient, ClientName: GoodHelo, Helo: []string{GoodHelo},
		MailFrom: GoodSender, Rcpts: []string{"alice@mx.test"}, Header: GoodHeader(),
	}
	for _, change := range changes {
		change(&s)
	}
	return s
}

// SessionFrom returns a good session with another reverse-path.
func SessionFrom(path string) miltertest.Session {
	return GoodSession(func(s *miltertest.Session) { s.MailFrom = path })
}

// Play plays a session. It fails the test if the daemon breaks the connection.
func (d *Daemon) Play(t testing.TB, s miltertest.Session) miltertest.Outcome {
	t.Helper()
	network, addr := miltertest.SplitListener(d.Listener)
	conn, err := miltertest.Dial(network, addr, miltertest.WaitTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	outcome, err := s.Run(conn)
	if err != nil {
		t.Fatalf("session of %s: %v\n%s", s.Client, err, d.Output())
	}
	return outcome
}

// replyLine matches each line of a reply.
var replyLine = regexp.MustCompile(`^([45]\d\d)([ -])([45]\.\d{1,3}\.\d{1,3}) ([ -~]+)$`)

// ReadReply checks the syntax of a reply, and returns its codes, such as "550 5.7.1", and its lines joined by spaces.
func ReadReply(t testing.TB, r miltertest.Response) (codes, text string) {
	t.Helper()
	lines := strings.Split(r.Raw, "\r\n")
	for i, line := range lines {
		m := replyLine.FindStringSubmatch(line)
		if m == nil || m[1][0] != m[3][0] || (m[2] == " ") != (i == len(lines)-1) {
			t.Fatalf("bad line %q in reply %q", line, r.Raw)
		}
		if codes != "" && codes != m[1]+" "+m[3] {
			t.Errorf("codes differ between the lines of reply %q", r.Raw)
		}
		const most = 510 - len("<>... ") // RFC 5321 section 4.5.3.1.5, less what Sendmail adds in front
		if len(line) > most {
			t.Errorf("line of %d bytes in reply %q", len(line), r.Raw)
		}
		codes = m[1] + " " + m[3]
		text = strings.TrimSpace(text + " " + m[4])
	}
	if strings.Contains(strings.ReplaceAll(text, "%%", ""), "%") {
		t.Errorf("single percent sign in reply %q", r.Raw)
	}
	return codes, strings.ReplaceAll(text, "%%", "%")
}
