package main_test

import (
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// behaviour is a way of using SMTP that must work with the filter in between.
type behaviour struct {
	name string
	test func(*testing.T, *daemontest.MailServer)
}

var behaviours = []behaviour{
	{"good mail", testGoodMail},
	{"messages on one connection", testSeveral},
	{"RSET", testReset},
	{"STARTTLS", testStartTLS},
	{"another HELO", testChanged},
	{"PIPELINING", testPipelining},
	{"IPv6", testIPv6},
	{"null sender", testNullSender},
	{"postmaster", testPostmaster},
	{"postmaster beside others", testMixed},
	{"unknown recipient", testUnknown},
	{"authenticated", testAuthenticated},
	{"hostile HELO", testHostileHelo},
	{"hostile explanation", testHostileExplanation},
}

func testGoodMail(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	b.Deliver(t, c, daemontest.GoodSender, "alice")
	c.Must("2", "QUIT")
	e := b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "mail_from": daemontest.GoodSender, "client": daemontest.GoodClient})
	if e["level"] != "info" || e["queue_id"] == "" {
		t.Errorf("log of an accepted message: %v", e)
	}
	for _, e := range b.Daemon.Entries(t, mark) {
		if e["action"] == "reject" || e["action"] == "tempfail" {
			t.Errorf("good mail: %v", e)
		}
	}
}

// testSeveral shows that nothing of one message is left when the next comes: no verdict, no header field, no queue id.
func testSeveral(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	b.Deliver(t, c, daemontest.GoodSender, "alice")
	b.Deliver(t, c, daemontest.GoodSender, "bob")

	c.Must("2", "MAIL FROM:<a@fail.test>")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.23", "fail.test")
	c.Must("2", "RSET")
	first := b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "rcpt": "alice@mx.test"})
	second := b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "rcpt": "bob@mx.test"})
	refused := b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "reject", "reason": "spf-fail"})
	if q := refused["queue_id"]; q == second["queue_id"] || q == first["queue_id"] || first["queue_id"] == second["queue_id"] {
		t.Errorf("queue ids of three messages: %q, %q, %q", first["queue_id"], second["queue_id"], q)
	}
	if refused["session"] != first["session"] {
		t.Errorf("sessions %q and %q on one connection", first["session"], refused["session"])
	}
	b.Deliver(t, c, daemontest.GoodSender, "alice")

	daemontest.Envelope(c, daemontest.GoodSender, "alice@mx.test")
	_, bad := daemontest.UniqueMessage(daemontest.Field{"Date", "yesterday"})
	daemontest.WantReply(t, c.Data(bad), "550 5.6.0", "yesterday")
	b.Deliver(t, c, daemontest.GoodSender, "bob")
	c.Must("2", "QUIT")
}

func testReset(t *testing.T, b *daemontest.MailServer) {
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	c.Must("2", "RSET")
	c.Must("2", "RSET")
	c.Must("2", "MAIL FROM:<a@fail.test>")
	c.Must("2", "RSET")
	c.Must("2", "MAIL FROM:<a@soft.test>")
	c.Must("5", "RCPT TO:<nobody-here@mx.test>")
	c.Must("2", "RSET")
	daemontest.Envelope(c, daemontest.GoodSender, "bob@mx.test")
	c.Must("2", "RSET")
	b.Deliver(t, c, daemontest.GoodSender, "alice")
}

// testStartTLS says HELO again after STARTTLS, also with another name: RFC 3207 has the server forget the first.
func testStartTLS(t *testing.T, b *daemontest.MailServer) {
	for _, second := range []string{daemontest.GoodHelo, "second.client.test"} {
		c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
		c.StartTLS()
		c.Must("2", "EHLO "+second)
		b.Deliver(t, c, daemontest.GoodSender, "alice")
		c.Must("2", "MAIL FROM:<a@fail.test>")
		daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.23", "fail.test")
	}
}

func testChanged(t *testing.T, b *daemontest.MailServer) {
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	b.Deliver(t, c, daemontest.GoodSender, "alice")
	c.Must("2", "EHLO "+daemontest.GoodHelo)
	b.Deliver(t, c, daemontest.GoodSender, "alice")
	c.Must("2", "EHLO second.client.test")
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.1", "second.client.test")
}

func testPipelining(t *testing.T, b *daemontest.MailServer) {
	c := miltertest.DialSMTP(t, b.Addr, daemontest.GoodClient)
	if r := c.Must("2", "EHLO "+daemontest.GoodHelo); !strings.Contains(r.Text, "PIPELINING") {
		t.Fatalf("no PIPELINING: %s", r)
	}
	c.Send("MAIL FROM:<a@fail.test>\r\nRCPT TO:<alice@mx.test>\r\nRCPT TO:<bob@mx.test>\r\nRSET\r\n" +
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
	b.Delivered(t, "alice", subject)
	b.Delivered(t, "bob", subject)
}

// testIPv6 uses an address of the documentation range with Postfix, and with Sendmail, which cannot be told another, the
// loopback address, that it spells in a way of its own.
func testIPv6(t *testing.T, b *daemontest.MailServer) {
	client, addr := "2001:db8::7", b.Addr
	if b.Addr6 != "" {
		client, addr = "::1", b.Addr6
	}
	connect := func() *miltertest.SMTPClient {
		c := miltertest.DialSMTP(t, addr, "")
		if b.XClient {
			c.Must("2", "XCLIENT NAME=six.client.test REVERSE_NAME=six.client.test ADDR=IPv6:"+client)
		}
		c.Must("2", "EHLO six.client.test")
		return c
	}
	mark := b.Daemon.Mark()
	c := connect()
	b.Deliver(t, c, "a@six.test", "alice")
	c.Must("2", "MAIL FROM:<a@fail.test>")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.23", client+" is no server of fail.test")
	b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "reject", "client": client, "reason": "spf-fail"})
	if !b.XClient {
		return
	}
	c = miltertest.DialSMTP(t, addr, "")
	c.Must("2", "XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] ADDR=IPv6:2001:db8::13")
	c.Must("2", "EHLO six.client.test")
	c.Must("2", "MAIL FROM:<a@six.test>")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.25", "2001:db8::13")
}

func testNullSender(t *testing.T, b *daemontest.MailServer) {
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	b.Deliver(t, c, "", "alice")
	// The client's own name is judged all the same.
	c = b.Connect(t, daemontest.GoodClient, "helofail.client.test")
	c.Must("2", "MAIL FROM:<>")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.23", "helofail.client.test")
}

// testPostmaster shows that whoever is refused can still reach the postmaster.
func testPostmaster(t *testing.T, b *daemontest.MailServer) {
	for _, rcpt := range []string{"postmaster", "postmaster@mx.test", "PostMaster@mx.test"} {
		c := b.Connect(t, "127.0.0.13", "nowhere.client.test")
		daemontest.Envelope(c, "a@fail.test", rcpt)
		subject, msg := daemontest.UniqueMessage(daemontest.Field{"Date", "yesterday"})
		if r := c.Data(msg); r.Code != "250" {
			t.Fatalf("message to %s: %s", rcpt, r)
		}
		b.Delivered(t, "postmaster", subject)
	}
}

// testMixed shows that the postmaster's exemption is no way in for anyone else.
func testMixed(t *testing.T, b *daemontest.MailServer) {
	c := b.Connect(t, "127.0.0.13", daemontest.GoodHelo)
	daemontest.Envelope(c, daemontest.GoodSender, "postmaster@mx.test")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.25", "127.0.0.13")
	b.Send(t, c, "postmaster")

	c = b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	daemontest.Envelope(c, daemontest.GoodSender, "alice@mx.test")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<postmaster@mx.test>"), "452 4.5.3", "postmaster@mx.test")
	b.Send(t, c, "alice")
}

func testUnknown(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<nobody-here@mx.test>"), "550 5.1.1", "")
	c.Must("5", "RCPT TO:<someone@elsewhere.test>")
	c.Must("2", "RCPT TO:<bob@mx.test>")
	b.Send(t, c, "bob")
	b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "rcpt": "bob@mx.test"})
}

// testAuthenticated has a user at home, with everything that a stranger would be refused for.
func testAuthenticated(t *testing.T, b *daemontest.MailServer) {
	c := miltertest.DialSMTP(t, b.Addr, "127.0.0.13")
	b.Authenticate(c, b.Site)
	daemontest.Envelope(c, "ann@mx.test", "alice@mx.test")
	subject, msg := daemontest.UniqueMessage(daemontest.Field{"Message-ID", "-"}, daemontest.Field{"Date", "-"})
	if r := c.Data(msg); r.Code != "250" {
		t.Fatalf("message of an authenticated client: %s", r)
	}
	b.Delivered(t, "alice", subject)
}

// testHostileHelo says names that a reply must not repeat as they are. What the mail server refuses itself, it refuses.
func testHostileHelo(t *testing.T, b *daemontest.MailServer) {
	names := []string{
		"100%s%n.client.test", "bad;name", `x" level=fatal msg="forged`, "grosse-\xfc\xdf.test", strings.Repeat("a", 400),
	}
	for _, name := range names {
		mark := b.Daemon.Mark()
		c := miltertest.DialSMTP(t, b.Addr, daemontest.GoodClient)
		if c.Cmd("HELO "+name).Code != "250" {
			continue
		}
		c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
		r := c.Cmd("RCPT TO:<alice@mx.test>")
		daemontest.WantReply(t, r, "501 5.5.2", name[:3])
		// The next reply is the next command's: the one before was one reply.
		daemontest.WantReply(t, c.Cmd("RCPT TO:<nobody-here@mx.test>"), "550 5.1.1", "")
		b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "reject", "reason": "helo-syntax", "code": "501"})
		for _, e := range b.Daemon.Entries(t, mark) {
			if e["level"] == "fatal" {
				t.Errorf("forged: %v", e)
			}
		}
	}
}

// testHostileExplanation has the DNS say what would break a reply and a log line.
func testHostileExplanation(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
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
	// The next reply is the next command's: nothing was smuggled in between.
	daemontest.WantReply(t, c.Cmd("RCPT TO:<nobody-here@mx.test>"), "550 5.1.1", "")
	b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "reject", "reason": "spf-fail", "mail_from": "a@evil.test"})
	n := 0
	for _, e := range b.Daemon.Entries(t, mark) {
		if e["level"] == "fatal" || e["msg"] == "forged" {
			t.Errorf("forged: %v", e)
		}
		if e["mail_from"] == "a@evil.test" && e["action"] == "reject" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d lines for one refusal", n)
	}
}
