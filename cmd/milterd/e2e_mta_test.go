package main_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"milterd/milter/miltertest"
)

// bench is one mail server with the daemon that it asks.
type bench struct {
	*miltertest.MTA
	site   *miltertest.Site
	daemon *daemon
}

// TestMTAs drives a real Postfix and a real Sendmail, both asking one milterd with the profile strict.
func TestMTAs(t *testing.T) {
	miltertest.Require(t)
	site := miltertest.NewSite(t, world)
	mtas := []*miltertest.MTA{site.Postfix(t), site.Sendmail(t)}
	strict := strictConfig(site)
	d := startInSite(t, site, strict, mtas...)
	for _, m := range mtas {
		b := &bench{m, site, d}
		t.Run(m.Name, func(t *testing.T) {
			for _, c := range refusals {
				t.Run(c.name, func(t *testing.T) { c.test(t, b) })
			}
			for _, c := range behaviours {
				t.Run(c.name, func(t *testing.T) { c.test(t, b) })
			}
		})
	}
	d.stop(t)
	// These end the daemon, or change it: each has its own.
	for _, m := range mtas {
		for _, c := range lives {
			t.Run(m.Name+" and "+c.name, func(t *testing.T) {
				c.test(t, &bench{m, site, startInSite(t, site, strict, m)})
			})
		}
	}
}

// strictConfig refuses all that it can, and lets first contacts in: that everyone waits is for the tests of greylisting.
func strictConfig(s *miltertest.Site) config {
	return config{dns: s.DNS.Addr, profile: "strict", actions: map[string]string{"first-contact": "off"}}
}

// serial tells messages apart.
var serial atomic.Int64

// unique is a good header, changed, whose Subject no other message has.
func unique(changes ...field) (subject string, msg string) {
	subject = fmt.Sprintf("message %d of the test", serial.Add(1))
	return subject, message(goodHeader(append([]field{{"Subject", subject}}, changes...)...))
}

// open connects as a client, and says EHLO.
func (b *bench) open(t *testing.T, source, helo string) *miltertest.SMTPClient {
	t.Helper()
	c := miltertest.DialSMTP(t, b.Addr, source)
	c.Must("2", "EHLO "+helo)
	return c
}

// envelope says MAIL and RCPT, which must succeed.
func envelope(c *miltertest.SMTPClient, from string, rcpts ...string) {
	c.Must("2", "MAIL FROM:<"+from+">")
	for _, r := range rcpts {
		c.Must("2", "RCPT TO:<"+r+">")
	}
}

// deliver sends a good message and reads it in the mailbox.
func (b *bench) deliver(t *testing.T, c *miltertest.SMTPClient, from, user string) string {
	t.Helper()
	envelope(c, from, user+"@mx.test")
	return b.send(t, c, user)
}

// send sends a good message after the envelope, and reads it in the mailbox.
func (b *bench) send(t *testing.T, c *miltertest.SMTPClient, user string) string {
	t.Helper()
	subject, msg := unique()
	if r := c.Data(msg); r.Code != "250" {
		t.Fatalf("good message: %s", r)
	}
	got := b.Delivered(t, user, subject)
	if !strings.HasSuffix(strings.TrimRight(got, "\n"), "\n\nThe body.") {
		t.Errorf("delivered message was changed: %q", got)
	}
	return got
}

// wantReply compares a reply with the codes, such as "550 5.7.1", and with what its text names. After another one the
// dialogue makes no sense.
func wantReply(t *testing.T, r miltertest.Reply, codes, saying string) {
	t.Helper()
	if r.Code+" "+r.Enhanced != codes || !strings.Contains(r.Text, saying) {
		t.Fatalf("got %q, want %s, naming %q", r, codes, saying)
	}
}

// refusal is mail from a client that one thing is wrong with.
type refusal struct {
	name   string
	source string
	helo   string
	from   string
	header []field // bad ones; none: RCPT is refused, else the dot

	codes, saying        string
	check, reason, stage string
}

var refusals = []refusal{
	{
		name: "unknown name in HELO", source: goodClient, helo: "nowhere.client.test", from: goodSender,
		codes: "550 5.7.1", saying: "nowhere.client.test",
		check: "helo", reason: "helo-unresolvable", stage: "helo",
	},
	{
		name: "missing PTR", source: "127.0.0.13", helo: goodHelo, from: goodSender,
		codes: "550 5.7.25", saying: "127.0.0.13",
		check: "rdns", reason: "rdns-missing", stage: "connect",
	},
	{
		name: "spoofed sender", source: goodClient, helo: goodHelo, from: "boss@mx.test",
		codes: "550 5.7.1", saying: "mx.test",
		check: "sender", reason: "sender-own-domain", stage: "mail",
	},
	{
		name: "SPF fail", source: goodClient, helo: goodHelo, from: "a@fail.test",
		codes: "550 5.7.23", saying: "127.0.0.10 is no server of fail.test",
		check: "spf", reason: "spf-fail", stage: "mail",
	},
	{
		name: "bad Date", source: goodClient, helo: goodHelo, from: goodSender,
		header: []field{{"Date", "Sat, 33 Nov 2026 12:00:00 +0000"}},
		codes:  "550 5.6.0", saying: "33 Nov 2026",
		check: "msgfields", reason: "date-invalid", stage: "header",
	},
	{
		name: "missing From", source: goodClient, helo: goodHelo, from: goodSender,
		header: []field{{"From", "-"}},
		codes:  "550 5.6.0", saying: "From",
		check: "msgfields", reason: "from-missing", stage: "header",
	},
}

func (c refusal) test(t *testing.T, b *bench) {
	mark := b.daemon.mark()
	conn := b.open(t, c.source, c.helo)
	conn.Must("2", "MAIL FROM:<"+c.from+">")
	r := conn.Cmd("RCPT TO:<alice@mx.test>")
	if len(c.header) > 0 {
		if r.Code != "250" {
			t.Fatalf("RCPT: %s, want the refusal after the dot", r)
		}
		_, msg := unique(c.header...)
		r = conn.Data(msg)
	}
	wantReply(t, r, c.codes, c.saying)
	e := b.daemon.awaitEntry(t, mark, entry{
		"msg": "reject", "action": "reject",
		"client": c.source, "helo": c.helo, "mail_from": c.from, "rcpt": "alice@mx.test",
		"check": c.check, "reason": c.reason, "stage": c.stage, "code": c.codes[:3],
	})
	for _, f := range decisionFields {
		if _, ok := e[f]; !ok {
			t.Errorf("log line lacks %s: %v", f, e)
		}
	}
	if c.source == goodClient && e["client_name"] != goodHelo {
		t.Errorf("client_name is %q", e["client_name"])
	}
	// Postfix gives a queue id only once a recipient was accepted.
	if e["queue_id"] == "" && (b.Name == "sendmail" || len(c.header) > 0) {
		t.Errorf("no queue id: %v", e)
	}
	if said := strings.TrimPrefix(e["text"], c.codes[4:]+" "); !strings.HasSuffix(r.Text, said) {
		t.Errorf("logged %q, answered %q", said, r.Text)
	}
	// What was refused is not held against what follows from the same client, if it was not the client's own fault.
	if c.stage == "mail" || c.stage == "header" {
		conn.Must("2", "RSET")
		b.deliver(t, conn, goodSender, "alice")
	}
}
