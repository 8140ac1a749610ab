package miltertest

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/emersion/go-milter"
)

const testZone = `
mx.test.                  MX  10 mx.test.
mx.test.                  A   127.0.0.1
good.client.test.         A   127.0.0.10
10.0.0.127.in-addr.arpa.  PTR good.client.test.
`

// mailFacility is LOG_MAIL, which both servers use.
const mailFacility = 2

// picky is a filter that refuses the recipient bob. Its reply names the client and the authenticated user.
type picky struct {
	milter.NoOpMilter
	client string
	user   string
}

func (p *picky) Connect(name, _ string, _ uint16, addr net.IP, _ *milter.Modifier) (milter.Response, error) {
	p.client = name + " " + addr.String()
	return milter.RespContinue, nil
}

func (p *picky) MailFrom(_ string, m *milter.Modifier) (milter.Response, error) {
	p.user = m.Macros["{auth_authen}"]
	return milter.RespContinue, nil
}

func (p *picky) RcptTo(rcpt string, _ *milter.Modifier) (milter.Response, error) {
	if strings.HasPrefix(rcpt, "bob@") {
		return milter.NewResponseStr('y', "550 5.7.1 not bob, from "+p.client+" "+p.user), nil
	}
	return milter.RespContinue, nil
}

func (*picky) Body(*milter.Modifier) (milter.Response, error) { return milter.RespContinue, nil }

// servePicky runs picky at a listener until the end of the test.
func servePicky(t *testing.T, listener string) {
	t.Helper()
	network, addr := SplitListener(listener)
	l, err := net.Listen(network, addr)
	must(t, err)
	if network == "unix" {
		must(t, os.Chmod(addr, 0o666))
	}
	s := &milter.Server{NewMilter: func() milter.Milter { return new(picky) }, Protocol: milter.OptNoBody}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // ends with the listener
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
}

func TestMTAs(t *testing.T) {
	Require(t)
	site := NewSite(t, testZone)
	for _, m := range []*MTA{site.Postfix(t), site.Sendmail(t)} {
		t.Run(m.Name, func(t *testing.T) {
			t.Run("no milter", func(t *testing.T) { testNoMilter(t, m) })
			servePicky(t, m.Milter)
			t.Run("milter", func(t *testing.T) { testPicky(t, site, m) })
		})
	}
	t.Run("exim", func(t *testing.T) { testExim(t, site.Exim(t)) })
}

// testExim sends a message through Exim and reads the fields that it added.
func testExim(t *testing.T, m *MTA) {
	c := DialSMTP(t, m.Open, "127.0.0.10")
	c.Must("2", "EHLO good.client.test")
	c.Must("2", "MAIL FROM:<a@sender.test>")
	c.Must("5", "RCPT TO:<nobody@mx.test>")
	c.Must("5", "RCPT TO:<alice@elsewhere.test>")
	c.Must("2", "RCPT TO:<alice@mx.test>")
	if r := c.Data("Subject: of exim\r\n\r\nhello\r\n"); r.Code != "250" {
		t.Fatal(r)
	}
	msg := m.Delivered(t, "alice", "of exim")
	for _, want := range []string{"Return-path: <a@sender.test>\n", "Envelope-to: alice@mx.test\n", "from good.client.test ([127.0.0.10])", "(Exim 4."} {
		if !strings.Contains(msg, want) {
			t.Errorf("no %q in\n%s", want, msg)
		}
	}
}

// testNoMilter tests what the two listeners do while no milter runs.
func testNoMilter(t *testing.T, m *MTA) {
	c := DialSMTP(t, m.Addr, "127.0.0.10")
	c.Must("2", "EHLO good.client.test")
	if r := c.Cmd("MAIL FROM:<a@sender.test>"); r.Code != "451" {
		t.Errorf("MAIL without a milter: %s, want 451", r)
	}
	c = DialSMTP(t, m.Open, "127.0.0.10")
	c.Must("2", "EHLO good.client.test")
	c.Must("2", "MAIL FROM:<a@sender.test>")
}

// testPicky tests that replies, messages and log lines pass from the filter through the MTA to the client.
func testPicky(t *testing.T, site *Site, m *MTA) {
	mark := site.Log.Mark()
	c := DialSMTP(t, m.Addr, "127.0.0.10")
	c.Must("2", "EHLO good.client.test")
	c.StartTLS()
	c.Must("2", "EHLO good.client.test")
	c.Must("2", "MAIL FROM:<a@sender.test>")
	c.Must("2", "RCPT TO:<alice@mx.test>")
	r := c.Cmd("RCPT TO:<bob@mx.test>")
	if r.Code != "550" || r.Enhanced != "5.7.1" || !strings.Contains(r.Text, "not bob, from good.client.test 127.0.0.10") {
		t.Errorf("RCPT bob: %+v", r)
	}
	if r := c.Cmd("RCPT TO:<nobody-of-that-name@mx.test>"); r.Code != "550" || r.Enhanced != "5.1.1" {
		t.Errorf("RCPT of an unknown user: %s", r)
	}
	if r := c.Data("From: <a@sender.test>\nSubject: picked\n\nbody\n"); r.Code != "250" {
		t.Fatalf("message: %s", r)
	}
	c.Must("2", "QUIT")
	m.Delivered(t, "alice", "Subject: picked")
	site.Log.Await(t, mark, m.Name+" logs the refusal", func(l LogLine) bool {
		return l.Facility == mailFacility && l.Tag != "" && strings.Contains(l.Text, "not bob")
	})
	for _, user := range []string{"bob", "postmaster"} {
		if mail := m.Mail(t, user); len(mail) != 0 {
			t.Errorf("%s got mail: %q", user, mail)
		}
	}
	testIPv6(t, m)
	testAuthenticated(t, m)
}

// testAuthenticated tests that the filter receives the name of an authenticated user.
func testAuthenticated(t *testing.T, m *MTA) {
	c := DialSMTP(t, m.Addr, "127.0.0.10")
	user := m.Authenticate(c)
	c.Must("2", "MAIL FROM:<a@sender.test>")
	if r := c.Cmd("RCPT TO:<bob@mx.test>"); !strings.Contains(r.Text, " "+user) {
		t.Errorf("authenticated client: %s, want user %q", r, user)
	}
}

// testIPv6 tests that the filter receives the address of an IPv6 client.
func testIPv6(t *testing.T, m *MTA) {
	addr, want := m.Addr, "from client6.test 2001:db8::7"
	if m.Addr6 != "" {
		addr, want = m.Addr6, "from localhost"
	}
	c := DialSMTP(t, addr, "")
	if m.XClient {
		c.Must("2", "XCLIENT NAME=client6.test REVERSE_NAME=client6.test ADDR=IPv6:2001:db8::7")
	}
	c.Must("2", "EHLO client6.test")
	c.Must("2", "MAIL FROM:<a@sender.test>")
	if r := c.Cmd("RCPT TO:<bob@mx.test>"); !strings.Contains(r.Text, want) {
		t.Errorf("IPv6 client: %s, want %q", r, want)
	}
}
