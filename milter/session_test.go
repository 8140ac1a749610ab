package milter

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"milterd/checks"
	"milterd/milter/miltertest"
)

func TestSessionOutlivesRefusals(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, func(r *checks.Request) ([]checks.Verdict, error) {
		if r.Stage == checks.RcptTo && strings.HasPrefix(r.Rcpt().Text, "bad") {
			return say(r.Helo + " from " + r.Client.String())
		}
		return nil, nil
	})
	d := dial(t, address)
	d.hello()
	for range 2 {
		d.must(d.Mail("<a@example.net>", map[string]string{}))
		want(t, "bad", d.rcpt("<bad@example.org>"), "550 5.7.1 no: mail.example.net from 192.0.2.9")
		want(t, "good", d.rcpt("<good@example.org>"), "")
		want(t, "bad again", d.rcpt("<bad2@example.org>"), "550 5.7.1 no: mail.example.net from 192.0.2.9")
		d.must(d.Header("Subject", " hi"))
		d.must(d.EndOfHeader(nil))
		d.must(d.EndOfMessage(map[string]string{"i": "Q1"}))
	}
	if len(journal.accepted) != 2 {
		t.Fatalf("%d messages accepted", len(journal.accepted))
	}
	for _, e := range journal.accepted {
		if len(e.Rcpts) != 3 || len(e.Header) != 1 || e.QueueID != "Q1" {
			t.Errorf("got %+v: fields or recipients of another message, or lost", e)
		}
	}
}

// TestTooManyForgedResults shows that a message with more than maxForged forged fields is deferred, and that the next
// message on the connection is not affected.
func TestTooManyForgedResults(t *testing.T) {
	t.Parallel()
	p, err := checks.New(nil, checks.Options{
		ReplyAt: checks.RcptTo, Budget: 8 * time.Second,
		TraceFields: checks.TraceFields{AuthServID: "mx.example.org", AuthenticationResults: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	address, _, journal := start(t, func(srv *Server) { srv.Pipeline = func() *checks.Pipeline { return p } }, accept)
	d := dial(t, address)
	d.hello()
	for _, c := range []struct {
		forged int
		want   string
	}{
		{maxForged, ""},
		{maxForged + 1, "451 4.6.0 too many Authentication-Results fields that claim to be from this host"},
		{100 * maxForged, "451 4.6.0 too many Authentication-Results fields that claim to be from this host"},
		{1, ""},
	} {
		d.must(d.Mail("<a@example.net>", map[string]string{}))
		d.rcpt("<good@example.org>")
		for range c.forged {
			d.must(d.Header("authentication-Results \t", " mx.example.org; spf=pass"))
			d.must(d.Header("Authentication-Results", " other.example; spf=pass"))
		}
		d.must(d.EndOfHeader(nil))
		r := d.must(d.EndOfMessage(map[string]string{"i": "Q1"}))
		want(t, fmt.Sprint(c.forged, " forged"), strings.Join(r.Lines, "|"), c.want)
	}
	if len(journal.accepted) != 2 {
		t.Errorf("%d messages accepted, want 2", len(journal.accepted))
	}
}

// TestMacrosEndWithTheTransaction shows that macros of an aborted transaction do not count for the next one. Postfix sends no
// macro packet if it has no macros, as for MAIL before there is a queue file.
func TestMacrosEndWithTheTransaction(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, accept)
	for _, c := range []struct {
		name             string
		mail, rcpt, data map[string]string // macros; nil: no such command
	}{
		{"after MAIL", map[string]string{"i": "Q1", "{auth_authen}": "bob"}, nil, nil},
		{"after RCPT", map[string]string{}, map[string]string{"i": "Q1", "{rcpt_mailer}": "local"}, nil},
		{"after a recipient that the MTA refused", map[string]string{}, map[string]string{"i": "Q1", "{rcpt_mailer}": "error", "{rcpt_host}": "5.1.1"}, nil},
		{"after DATA", map[string]string{}, map[string]string{"i": "Q1"}, map[string]string{"i": "Q1"}},
	} {
		d := dial(t, address)
		d.hello()
		d.must(d.Mail("<a@example.net>", c.mail))
		if c.rcpt != nil {
			d.must(d.Rcpt("<u@example.org>", c.rcpt))
		}
		if c.data != nil {
			d.must(d.Data(c.data))
		}
		if err := d.Abort(); err != nil {
			t.Fatal(err)
		}
		d.must(d.Mail("<b@example.net>", nil))
		d.must(d.Rcpt("<v@example.org>", nil))
		s := journal.last()
		if e := s.Envelope; s.AuthUser != "" || e.QueueID != "" || len(e.Rcpts) != 1 || e.Rcpts[0].Refused != "" {
			t.Errorf("%s: user %q, queue id %q, recipients %+v", c.name, s.AuthUser, e.QueueID, e.Rcpts)
		}
	}
}

// TestMacrosBelongToOneCommand tests that a recipient without macros is judged after one that the MTA refused.
func TestMacrosBelongToOneCommand(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, func(*checks.Request) ([]checks.Verdict, error) { return say("x") })
	d := dial(t, address)
	d.hello()
	d.must(d.Mail("<a@example.net>", nil))
	d.must(d.Rcpt("<nobody@example.org>", map[string]string{"{rcpt_mailer}": "error", "{rcpt_host}": "5.1.1"}))
	r := d.must(d.Rcpt("<u@example.org>", nil))
	want(t, "the second recipient", strings.Join(r.Lines, "|"), "550 5.7.1 no: x")
	if rcpts := journal.last().Envelope.Rcpts; len(rcpts) != 2 || rcpts[0].Refused != "5.1.1" {
		t.Errorf("recipients %+v", rcpts)
	}
}

func TestEndOfMessageWithoutTransaction(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, accept)
	for _, protocol := range []gomilter.OptProtocol{miltertest.AllProtocol, miltertest.AllProtocol &^ gomilter.OptNoEOHReply} {
		d := dialOffering(t, address, protocol)
		d.must(d.Header("X-A", " b"))
		d.must(d.EndOfHeader(nil))
		want(t, "message", strings.Join(d.must(d.EndOfMessage(nil)).Lines, "|"), "")
	}
	if n := len(journal.accepted); n > 0 {
		t.Errorf("%d messages were accepted", n)
	}
}

// TestLongFields sends fields that do not fit into the buffer, and fields with a NUL, which no MTA sends. An MTA that awaits a
// response to each field drops a space before the value.
func TestLongFields(t *testing.T) {
	t.Parallel()
	for _, length := range []int{10, readBuffer - 10, readBuffer, readBuffer + 10, 100_000} {
		for name, value := range map[string]string{"plain": strings.Repeat("x", length), "with a NUL": "a\x00" + strings.Repeat("x", length)} {
			for _, protocol := range []gomilter.OptProtocol{miltertest.AllProtocol, 0} {
				t.Run(fmt.Sprintf("%s %d %#x", name, length, uint32(protocol)), func(t *testing.T) {
					t.Parallel()
					address, _, journal := start(t, nil, accept)
					d := dialOffering(t, address, protocol)
					d.hello()
					d.must(d.Mail("<>", nil))
					d.rcpt("<u@example.org>")
					d.must(d.Header("X-A", " "+value))
					d.must(d.Header("X-B", " b"))
					d.must(d.EndOfHeader(nil))
					want(t, "message", strings.Join(d.must(d.EndOfMessage(nil)).Lines, "|"), "")
					if h := journal.last().Envelope.Header; len(h) != 2 || h[0].Value != " "+value || h[1].Value != " b" {
						t.Errorf("%d fields: %.40q", len(h), h)
					}
				})
			}
		}
	}
}

func TestHeaderRefusalEndsTheTransaction(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, func(r *checks.Request) ([]checks.Verdict, error) {
		if r.Stage == checks.EndOfHeader {
			return say(r.Envelope.Header[0].Name + r.Envelope.Header[0].Value)
		}
		return nil, nil
	})
	for _, c := range []struct {
		name  string
		offer gomilter.OptProtocol
	}{
		{"the MTA waits at the end of the message only", miltertest.AllProtocol},
		{"the MTA waits at the end of the header too", miltertest.AllProtocol &^ gomilter.OptNoEOHReply},
	} {
		d := dialOffering(t, address, c.offer)
		d.hello()
		for range 2 { // as Sendmail: no ABORT after a refused message
			d.must(d.Mail("<>", nil))
			d.rcpt("<u@example.org>")
			d.must(d.Header("X-A", " 100%\n\tb"))
			r := d.must(d.EndOfHeader(nil))
			want(t, c.name+": header", strings.Join(r.Lines, "|"), "")
			r = d.must(d.EndOfMessage(nil))
			want(t, c.name+": message", strings.Join(r.Lines, "|"), "550 5.7.1 no: X-A 100% b")
		}
		if s := journal.last(); len(s.Envelope.Header) != 1 {
			t.Errorf("%s: the second message has %d fields", c.name, len(s.Envelope.Header))
		}
	}
}

func TestSessionOfTheMTA(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, accept)
	for _, c := range []struct {
		name    string
		connect map[string]string
		client  netip.AddrPort
		host    string
		check   func(s checks.Session) bool
	}{
		{"IPv6 as Postfix writes it", nil, netip.MustParseAddrPort("[2001:db8::7]:25"), "x", func(s checks.Session) bool { return s.Client == netip.MustParseAddr("2001:db8::7") }},
		{"a mapped address is an IPv4 one", nil, netip.MustParseAddrPort("[::ffff:192.0.2.1]:25"), "x", func(s checks.Session) bool { return s.Client == netip.MustParseAddr("192.0.2.1") }},
		{"a local submission", nil, netip.AddrPort{}, "localhost", func(s checks.Session) bool { return s.Local }},
		{"an unknown client is not local", nil, netip.AddrPort{}, "unknown", func(s checks.Session) bool { return !s.Local && !s.Client.IsValid() }},
		{"an address in macros alone, as IPv6 in Sendmail", map[string]string{"{client_addr}": "IPv6:2001:db8:0:0:0:0:0:7"}, netip.AddrPort{}, "x", func(s checks.Session) bool { return s.Client == netip.MustParseAddr("2001:db8::7") }},
		{"in the underscore macro alone", map[string]string{"_": "x [192.0.2.77] (may be forged)"}, netip.AddrPort{}, "x", func(s checks.Session) bool { return s.Client == netip.MustParseAddr("192.0.2.77") }},
	} {
		d := dial(t, address)
		d.must(d.Connect(c.host, c.client, c.connect))
		d.must(d.Helo("h", nil))
		d.must(d.Mail("<a@example.net>", map[string]string{"{auth_authen}": "bob"}))
		d.rcpt("<u@example.org>")
		if s := journal.last(); !c.check(s) || s.AuthUser != "bob" {
			t.Errorf("%s: got client %v, local %v, user %q", c.name, s.Client, s.Local, s.AuthUser)
		}
		d.must(d.Mail("<a@example.net>", map[string]string{"{x}": "y"}))
		d.rcpt("<u@example.org>")
		if s := journal.last(); s.AuthUser != "" {
			t.Errorf("%s: the user of the message before", c.name)
		}
	}
}

func TestHeloAfterStartTLS(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, accept)
	d := dial(t, address)
	d.must(d.Connect("x", client, map[string]string{}))
	tls := map[string]string{"{tls_version}": "TLSv1.3"}
	for _, st := range []struct {
		name     string
		macros   map[string]string
		previous string
	}{
		{"a.example", map[string]string{}, ""},
		{"b.example", tls, ""},
		{"c.example", tls, "b.example"},
	} {
		d.must(d.Helo(st.name, st.macros))
		d.Abort()
		d.must(d.Mail("<>", nil))
		d.rcpt("<u@example.org>")
		if s := journal.last(); s.Helo != st.name || s.PreviousHelo != st.previous {
			t.Errorf("got %q after %q, want %q after %q", s.Helo, s.PreviousHelo, st.name, st.previous)
		}
	}
}

func TestRecipientRefusedByTheMTA(t *testing.T) {
	t.Parallel()
	asked := 0
	address, _, journal := start(t, nil, func(r *checks.Request) ([]checks.Verdict, error) { asked++; return say("x") })
	d := dial(t, address)
	d.hello()
	d.must(d.Mail("<a@example.net>", nil))
	r := d.must(d.Rcpt("<nobody@example.org>", map[string]string{"{rcpt_mailer}": "error", "{rcpt_host}": "5.1.1"}))
	if r.Refused() || asked != 0 {
		t.Errorf("got %v, %d questions", r, asked)
	}
	d.rcpt("<u@example.org>")
	if s := journal.last(); s.Envelope.Rcpts[0].Refused != "5.1.1" {
		t.Errorf("got %+v", s.Envelope.Rcpts)
	}
}
