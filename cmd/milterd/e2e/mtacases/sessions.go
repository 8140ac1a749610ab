package mtacases

import (
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// sessions are SMTP sessions that milterd must not disturb.
var sessions = []testCase{
	{"good mail", testGoodMail},
	{"several messages on a connection", testSeveral},
	{"RSET", testReset},
	{"STARTTLS", testStartTLS},
	{"changed HELO", testChangedHelo},
	{"PIPELINING", testPipelining},
	{"IPv6", testIPv6},
	{"null sender", testNullSender},
	{"postmaster", testPostmaster},
	{"postmaster and others", testMixed},
	{"unknown recipient", testUnknown},
	{"authenticated", testAuthenticated},
	{"hostile HELO", testHostileHelo},
	{"hostile explanation", testHostileExplanation},
}

func testSessions(t *testing.T, m *daemontest.MailServer) {
	for _, c := range sessions {
		t.Run(c.name, func(t *testing.T) { c.test(t, m) })
	}
}

func testGoodMail(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	c := m.ConnectGood(t)
	m.Deliver(t, c, daemontest.GoodSender, "alice")
	c.Must("2", "QUIT")
	e := m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "mail_from": daemontest.GoodSender, "client": daemontest.GoodClient})
	if e["level"] != "info" || e["queue_id"] == "" {
		t.Errorf("log of an accepted message: %v", e)
	}
	for _, e := range m.Daemon.Entries(t, mark) {
		if e["action"] == "reject" || e["action"] == "tempfail" {
			t.Errorf("good mail: %v", e)
		}
	}
}

// testSeveral tests that a message has no verdict, header field or queue ID of the message before it.
func testSeveral(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	c := m.ConnectGood(t)
	m.Deliver(t, c, daemontest.GoodSender, "alice")
	m.Deliver(t, c, daemontest.GoodSender, "bob")

	c.Must("2", "MAIL FROM:<a@nomail.test>")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.23", "nomail.test")
	c.Must("2", "RSET")
	first := m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "rcpt": "alice@mx.test"})
	second := m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "rcpt": "bob@mx.test"})
	refused := m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "reject", "reason": "spf-no-mail"})
	if q := refused["queue_id"]; q == second["queue_id"] || q == first["queue_id"] || first["queue_id"] == second["queue_id"] {
		t.Errorf("queue IDs of three messages: %q, %q, %q", first["queue_id"], second["queue_id"], q)
	}
	if refused["session"] != first["session"] {
		t.Errorf("sessions %q and %q on one connection", first["session"], refused["session"])
	}
	m.Deliver(t, c, daemontest.GoodSender, "alice")

	daemontest.Envelope(c, daemontest.GoodSender, "alice@mx.test")
	_, bad := daemontest.UniqueMessage(daemontest.Field{"Date", "yesterday"})
	daemontest.WantReply(t, c.Data(bad), "550 5.6.0", "yesterday")
	m.Deliver(t, c, daemontest.GoodSender, "bob")
	c.Must("2", "QUIT")
}

// testReset tests that RSET at any point of a transaction leaves the session usable.
func testReset(t *testing.T, m *daemontest.MailServer) {
	c := m.ConnectGood(t)
	c.Must("2", "RSET")
	c.Must("2", "RSET")
	c.Must("2", "MAIL FROM:<a@nomail.test>")
	c.Must("2", "RSET")
	c.Must("2", "MAIL FROM:<a@soft.test>")
	c.Must("5", "RCPT TO:<nobody-here@mx.test>")
	c.Must("2", "RSET")
	daemontest.Envelope(c, daemontest.GoodSender, "bob@mx.test")
	c.Must("2", "RSET")
	m.Deliver(t, c, daemontest.GoodSender, "alice")
}

// testStartTLS tests that the client may change its HELO name after STARTTLS, RFC 3207 section 4.2.
func testStartTLS(t *testing.T, m *daemontest.MailServer) {
	for _, second := range []string{daemontest.GoodHelo, "second.client.test"} {
		c := m.ConnectGood(t)
		c.StartTLS()
		c.Must("2", "EHLO "+second)
		m.Deliver(t, c, daemontest.GoodSender, "alice")
		c.Must("2", "MAIL FROM:<a@nomail.test>")
		daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.23", "nomail.test")
	}
}

func testChangedHelo(t *testing.T, m *daemontest.MailServer) {
	c := m.ConnectGood(t)
	m.Deliver(t, c, daemontest.GoodSender, "alice")
	c.Must("2", "EHLO "+daemontest.GoodHelo)
	m.Deliver(t, c, daemontest.GoodSender, "alice")
	c.Must("2", "EHLO second.client.test")
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.1", "second.client.test")
}

func testPipelining(t *testing.T, m *daemontest.MailServer) {
	c := miltertest.DialSMTP(t, m.Addr, daemontest.GoodClient)
	if r := c.Must("2", "EHLO "+daemontest.GoodHelo); !strings.Contains(r.Text, "PIPELINING") {
		t.Fatalf("no PIPELINING: %s", r)
	}
	c.Send("MAIL FROM:<a@nomail.test>\r\nRCPT TO:<alice@mx.test>\r\nRCPT TO:<bob@mx.test>\r\nRSET\r\n" +
		"MAIL FROM:<" + daemontest.GoodSender + ">\r\nRCPT TO:<alice@mx.test>\r\nRCPT TO:<bob@mx.test>\r\nDATA\r\n")
	for i, want := range []string{"250", "550", "550", "250", "250", "250", "250", "354"} {
		if r := c.Read(); r.Code != want {
			t.Fatalf("reply %d: %s, want %s", i+1, r, want)
		}
	}
	subject, msg := daemontest.UniqueMessage()
	if r := c.Message(msg); r.Code != "250" {
		t.Fatalf("message: %s", r)
	}
	m.Delivered(t, "alice", subject)
	m.Delivered(t, "bob", subject)
}

// testIPv6 tests an IPv6 client: with Postfix an address of the documentation range, which XCLIENT sets; with Sendmail
// the loopback address, to which Sendmail adds a prefix of its own.
func testIPv6(t *testing.T, m *daemontest.MailServer) {
	client, addr := "2001:db8::7", m.Addr
	if m.Addr6 != "" {
		client, addr = "::1", m.Addr6
	}
	connect := func() *miltertest.SMTPClient {
		c := miltertest.DialSMTP(t, addr, "")
		if m.XClient {
			c.Must("2", "XCLIENT NAME=six.client.test REVERSE_NAME=six.client.test ADDR=IPv6:"+client)
		}
		c.Must("2", "EHLO six.client.test")
		return c
	}
	mark := m.Daemon.Mark()
	c := connect()
	m.Deliver(t, c, "a@six.test", "alice")
	c.Must("2", "MAIL FROM:<a@nomail.test>")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.23", client+" is no server of nomail.test")
	m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "reject", "client": client, "reason": "spf-no-mail"})
	if !m.XClient {
		return
	}
	c = miltertest.DialSMTP(t, addr, "")
	c.Must("2", "XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] ADDR=IPv6:2001:db8::13")
	c.Must("2", "EHLO six.client.test")
	c.Must("2", "MAIL FROM:<a@six.test>")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.25", "2001:db8::13")
}

func testNullSender(t *testing.T, m *daemontest.MailServer) {
	c := m.ConnectGood(t)
	m.Deliver(t, c, "", "alice")
	// SPF of the HELO name applies to bounces too.
	c = m.Connect(t, daemontest.GoodClient, "helofail.client.test")
	c.Must("2", "MAIL FROM:<>")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.23", "helofail.client.test")
}

// testPostmaster tests that a client that is refused otherwise can send mail to the postmaster.
func testPostmaster(t *testing.T, m *daemontest.MailServer) {
	for _, rcpt := range []string{"postmaster", "postmaster@mx.test", "PostMaster@mx.test"} {
		c := m.Connect(t, "127.0.0.13", "nowhere.client.test")
		daemontest.Envelope(c, "a@nomail.test", rcpt)
		subject, msg := daemontest.UniqueMessage(daemontest.Field{"Date", "yesterday"})
		daemontest.SendMessage(t, c, msg)
		m.Delivered(t, "postmaster", subject)
	}
}

// testMixed tests that the postmaster's exemption does not apply to other recipients of the message.
func testMixed(t *testing.T, m *daemontest.MailServer) {
	c := m.Connect(t, "127.0.0.13", daemontest.GoodHelo)
	daemontest.Envelope(c, daemontest.GoodSender, "postmaster@mx.test")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.25", "127.0.0.13")
	m.Send(t, c, "postmaster")

	c = m.ConnectGood(t)
	daemontest.Envelope(c, daemontest.GoodSender, "alice@mx.test")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<postmaster@mx.test>"), "452 4.5.3", "postmaster@mx.test")
	m.Send(t, c, "alice")
}

// testUnknown tests that the mail server's own refusals reach the client.
func testUnknown(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	c := m.ConnectGood(t)
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<nobody-here@mx.test>"), "550 5.1.1", "")
	c.Must("5", "RCPT TO:<someone@elsewhere.test>")
	c.Must("2", "RCPT TO:<bob@mx.test>")
	m.Send(t, c, "bob")
	m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "rcpt": "bob@mx.test"})
}

// testAuthenticated tests that nothing is refused to an authenticated user.
func testAuthenticated(t *testing.T, m *daemontest.MailServer) {
	c := miltertest.DialSMTP(t, m.Addr, "127.0.0.13")
	m.Authenticate(c)
	daemontest.Envelope(c, "ann@mx.test", "alice@mx.test")
	subject, msg := daemontest.UniqueMessage(daemontest.Field{"Message-ID", "-"}, daemontest.Field{"Date", "-"})
	daemontest.SendMessage(t, c, msg)
	m.Delivered(t, "alice", subject)
}

// testHostileHelo sends HELO names that must not reach a reply or a log line unchanged. The mail server refuses some of
// them itself.
func testHostileHelo(t *testing.T, m *daemontest.MailServer) {
	names := []string{
		"100%s%n.client.test", "bad;name", `x" level=fatal msg="forged`, "grosse-\xfc\xdf.test", strings.Repeat("a", 400),
	}
	for _, name := range names {
		mark := m.Daemon.Mark()
		c := miltertest.DialSMTP(t, m.Addr, daemontest.GoodClient)
		if c.Cmd("HELO "+name).Code != "250" {
			continue
		}
		c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
		r := c.Cmd("RCPT TO:<alice@mx.test>")
		daemontest.WantReply(t, r, "501 5.5.2", name[:3])
		// The refusal was exactly one reply.
		daemontest.WantReply(t, c.Cmd("RCPT TO:<nobody-here@mx.test>"), "550 5.1.1", "")
		m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "reject", "reason": "helo-syntax", "code": "501"})
		for _, e := range m.Daemon.Entries(t, mark) {
			if e["level"] == "fatal" {
				t.Errorf("forged: %v", e)
			}
		}
	}
}

// testHostileExplanation tests an SPF explanation that would split a reply and forge a log line.
func testHostileExplanation(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	c := m.ConnectGood(t)
	c.Must("2", "MAIL FROM:<a@evil.test>")
	r := c.Cmd("RCPT TO:<alice@mx.test>")
	daemontest.WantReply(t, r, "550 5.7.23", "evil.test")
	for _, line := range r.Lines {
		for i := range len(line) {
			if line[i] < ' ' || line[i] > '~' {
				t.Errorf("reply %q", line)
			}
		}
	}
	// The refusal was exactly one reply.
	daemontest.WantReply(t, c.Cmd("RCPT TO:<nobody-here@mx.test>"), "550 5.1.1", "")
	m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "reject", "reason": "spf-no-mail", "mail_from": "a@evil.test"})
	n := 0
	for _, e := range m.Daemon.Entries(t, mark) {
		if e["level"] == "fatal" || e["msg"] == "forged" {
			t.Errorf("forged: %v", e)
		}
		if e["mail_from"] == "a@evil.test" && e["action"] == "reject" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d log lines for one refusal", n)
	}
}
