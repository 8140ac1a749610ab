// Package callout tests callouts: milterd asks the mail hosts of a sender's domain whether they accept mail to the sender.
package callout

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// calloutConfig enforces the reasons of the check callout. For bob, a callout without an answer is only watched. The
// settings are added to those of the check.
func calloutConfig(dns, settings string) daemontest.Config {
	actions := daemontest.OnlyReason("callout-rejected", "reject")
	maps.Copy(actions, map[string]string{
		"callout-unreachable": "tempfail", "callout-pending": "tempfail", "from-callout-rejected": "reject",
	})
	return daemontest.Config{DNS: dns, Profile: "strict", Actions: actions, Extra: fmt.Sprintf(`budget: 2s
checks: {callout: {port: %s, allow_private: true, per_mx: 1000/m%s}}
policies:
  - recipients: [bob@mx.test]
    actions: {callout-unreachable: watch, callout-pending: watch}
`, calloutPort, settings)}
}

// TestCallouts sends mail to a Postfix with milterd from domains whose mail hosts are real servers, and from domains whose
// mail hosts fail in ways that real servers cannot be configured for.
func TestCallouts(t *testing.T) {
	miltertest.Require(t)
	e := newEnvironment(t)
	t.Run("null reverse-path", func(t *testing.T) {
		e.Daemon = daemontest.StartInSite(t, e.Site, calloutConfig(e.Site.DNS.Addr, ""), e.MTA)
		for _, c := range realHosts {
			t.Run(c.name, func(t *testing.T) { c.test(t, e) })
		}
		t.Run("invented author", func(t *testing.T) { testAuthor(t, e.MailServer) })
		t.Run("scripted", func(t *testing.T) {
			for _, c := range scriptedHosts {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.test(t, e)
				})
			}
		})
		testConversation(t, e)
	})
	t.Run("with a sender", func(t *testing.T) { testSender(t, e) })
}

// senderCase is mail from one sender to alice.
type senderCase struct {
	name, from string

	codes, text string // of the reply; empty if the mail is accepted
	reason      string
	at, reply   string // in the log: command that failed, what the mail host answered
	later       string // codes of the reply when the callout has ended, if it was pending
}

const rejected, unreachable, pending = "callout-rejected", "callout-unreachable", "callout-pending"

var realHosts = []senderCase{
	{name: "user of Postfix", from: "ann@postfix.test"},
	{name: "user of Sendmail", from: "alice@sendmail.test"},
	{name: "user of Exim", from: "alice@exim.test"},
	{
		name: "invented at Postfix", from: "nobody@postfix.test",
		codes: "550 5.1.7", text: "mx.postfix.test takes no mail for the sender address <nobody@postfix.test>: 550 5.1.1 <nobody@postfix.test>: Recipient address rejected: User unknown",
		reason: rejected, at: "rcpt", reply: "550 5.1.1",
	},
	{
		name: "invented at Sendmail", from: "made-up@sendmail.test",
		codes: "550 5.1.7", text: "550 5.1.1 <made-up@sendmail.test>... User unknown",
		reason: rejected, at: "rcpt", reply: "550 5.1.1",
	},
	{
		name: "invented at Exim", from: "nobody@exim.test",
		codes: "550 5.1.7", text: "no such user",
		reason: rejected, at: "rcpt", reply: "550",
	},
	{name: "invented at a catch-all", from: "nobody@all.test"},
	{
		name: "greylisted", from: "ann@later.test",
		codes: "450 4.1.7", text: "mx.later.test at rcpt: 450 4.2.0 <ann@later.test>: Recipient address rejected: greylisted",
		reason: unreachable, at: "rcpt", reply: "450 4.2.0",
	},
	{
		name: "no null reverse-path at MAIL", from: "alice@nonull.test",
		codes: "450 4.1.7", text: "mx.nonull.test at mail: 550 5.7.1 <>: Sender address rejected: no mail without a sender",
		reason: unreachable, at: "mail", reply: "550 5.7.1",
	},
	{
		name: "no null reverse-path at RCPT", from: "ann@latenull.test",
		codes: "450 4.1.7", text: "mx.latenull.test at random: 550 5.7.1 <>: Sender address rejected",
		reason: unreachable, at: "random", reply: "550 5.7.1",
	},
}

var scriptedHosts = []senderCase{
	{
		name: "closed port", from: "ann@closed.test",
		codes: "450 4.1.7", text: "mx.closed.test at connect: refused the connection",
		reason: unreachable, at: "connect", reply: "refused",
	},
	{
		name: "silent", from: "ann@silent.test",
		codes: "450 4.1.7", text: "still being asked",
		reason: pending, at: "greeting", reply: "no reply",
	},
	{
		name: "slow", from: "ann@slow.test",
		codes: "450 4.1.7", text: "still being asked",
		reason: pending, reply: "no reply", later: "550 5.1.7",
	},
	{
		name: "endless greeting", from: "ann@endless.test",
		codes: "450 4.1.7", text: "more than 64 lines",
		reason: unreachable, at: "greeting", reply: "more than 64 lines",
	},
	{
		name: "endless line", from: "ann@line.test",
		codes: "450 4.1.7", text: "more than 2048 bytes",
		reason: unreachable, at: "greeting", reply: "more than 2048 bytes",
	},
	{
		name: "garbage", from: "ann@garbage.test",
		codes: "450 4.1.7", text: `does not speak SMTP: "HTTP/1.1 400 Bad ?[31mRequest"`,
		reason: unreachable, at: "greeting", reply: "does not speak SMTP",
	},
	{
		name: "421 to RCPT", from: "ann@busy.test",
		codes: "450 4.1.7", text: "mx.busy.test at random: 421 4.3.2 shutting down",
		reason: unreachable, at: "random", reply: "421",
	},
	{
		name: "refused by policy", from: "ann@policy.test",
		codes: "450 4.1.7", text: "blocked for callouts",
		reason: unreachable, at: "random", reply: "550 5.7.1",
	},
}

func (c senderCase) test(t *testing.T, e *environment) {
	mark := e.Daemon.Mark()
	conn := e.ConnectGood(t)
	if c.codes == "" {
		e.Deliver(t, conn, c.from, "alice")
		e.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "mail_from": c.from})
		return
	}
	conn.Must("2", "MAIL FROM:<"+c.from+">")
	daemontest.WantReply(t, conn.Cmd("RCPT TO:<alice@mx.test>"), c.codes, c.text)
	c.wantLogged(t, e, mark)
	if c.codes[0] == '5' {
		daemontest.WantReply(t, conn.Cmd("RCPT TO:<bob@mx.test>"), c.codes, c.text)
		return
	}
	conn.Must("2", "RCPT TO:<bob@mx.test>")
	e.Send(t, conn, "bob")
	e.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "mail_from": c.from, "rcpt": "bob@mx.test", "watched": c.reason})
	if c.later == "" {
		return
	}
	miltertest.Eventually(t, "the callout has ended", func() bool {
		conn.Must("2", "MAIL FROM:<"+c.from+">")
		r := conn.Cmd("RCPT TO:<alice@mx.test>")
		conn.Must("2", "RSET")
		return r.Code+" "+r.Enhanced == c.later
	})
	e.Daemon.AwaitEntry(t, mark, daemontest.Entry{
		"msg": "callout", "sender": "<" + c.from + ">", "answer": "rejected", "mx": c.mx(), "at": "rcpt",
	})
}

// mx returns the name of the sender's mail host.
func (c senderCase) mx() string {
	_, domain, _ := strings.Cut(c.from, "@")
	return "mx." + domain
}

// wantLogged tests that the log has the refusal, the mail host's address and its answer.
func (c senderCase) wantLogged(t *testing.T, e *environment, mark int) {
	want := daemontest.Entry{
		"msg": "tempfail", "mail_from": c.from, "rcpt": "alice@mx.test",
		"check": "callout", "reason": c.reason, "stage": "rcpt", "mx": c.mx(),
	}
	if c.codes[0] == '5' {
		want["msg"] = "reject"
	}
	if c.at != "" {
		want["at"] = c.at
	}
	entry := e.Daemon.AwaitEntry(t, mark, want)
	if !strings.HasPrefix(entry["address"], "127.") || !strings.Contains(entry["reply"], c.reply) {
		t.Errorf("the log does not have the address of the mail host or its reply: %v", entry)
	}
}

// testAuthor tests that a message from an existing sender is refused if its author does not exist.
func testAuthor(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	conn := m.ConnectGood(t)
	daemontest.Envelope(conn, "ann@postfix.test", "alice@mx.test")
	_, msg := daemontest.UniqueMessage(daemontest.Field{"From", "nobody@exim.test"})
	daemontest.WantReply(t, conn.Data(msg), "550 5.7.1", "mx.exim.test takes no mail for the author address <nobody@exim.test>")
	m.Daemon.AwaitEntry(t, mark, daemontest.Entry{
		"msg": "reject", "reason": "from-callout-rejected", "stage": "header", "mx": "mx.exim.test", "at": "rcpt",
	})
}

// testConversation tests that callouts sent QUIT, and neither DATA nor VRFY.
func testConversation(t *testing.T, e *environment) {
	n := 0
	for _, l := range e.postfix.Log.Lines() {
		_, counts, ok := strings.Cut(l.Text, "disconnect from ")
		if !ok || !strings.Contains(counts, "rcpt=") {
			continue
		}
		n++
		if !strings.Contains(counts, " quit=1") || strings.Contains(counts, "data") || strings.Contains(counts, "vrfy") || strings.Contains(counts, "unknown=") {
			t.Errorf("commands of a callout: %s", counts)
		}
	}
	if n == 0 {
		t.Error("the log of the mail host has no callout")
	}
	for domain, h := range e.scripted {
		h.mu.Lock()
		for _, line := range h.received {
			if strings.Contains(line, "DATA") || strings.Contains(line, "VRFY") {
				t.Errorf("%s received %q", domain, line)
			}
		}
		h.mu.Unlock()
	}
}

// testSender tests that a configured sender address is used for mail hosts that refuse the null reverse-path, and that
// the mail is deferred until their answer.
func testSender(t *testing.T, e *environment) {
	e.Daemon = daemontest.StartInSite(t, e.Site, calloutConfig(e.Site.DNS.Addr, ", from: bob@mx.test"), e.MTA)
	for from, codes := range map[string]string{
		"alice@nonull.test": "250 2.1.5", "nobody@nonull.test": "550 5.1.7",
		"ann@latenull.test": "250 2.1.5", "nobody@latenull.test": "550 5.1.7",
	} {
		t.Run(from, func(t *testing.T) {
			conn := e.ConnectGood(t)
			conn.Must("2", "MAIL FROM:<"+from+">")
			r := conn.Cmd("RCPT TO:<alice@mx.test>")
			miltertest.Eventually(t, "the callout has ended", func() bool {
				if r.Code+" "+r.Enhanced == codes {
					return true
				}
				daemontest.WantReply(t, r, "450 4.1.7", "still being asked")
				conn.Must("2", "RSET")
				conn.Must("2", "MAIL FROM:<"+from+">")
				r = conn.Cmd("RCPT TO:<alice@mx.test>")
				return false
			})
			if codes[0] == '2' {
				e.Send(t, conn, "alice")
			}
		})
	}
}
