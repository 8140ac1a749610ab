package main_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// calloutPort is where the mail hosts of these tests listen, each on an address of its own.
const calloutPort = "2526"

// calloutSite is a mail server that calls out, and the domains of the senders that it hears of.
type calloutSite struct {
	*daemontest.MailServer
	zone  strings.Builder
	hosts map[string]*scriptedHost // by domain
	kinds *miltertest.Site         // of manyKinds
}

// mx makes an address the mail host of a domain.
func (s *calloutSite) mx(domain, addr string) {
	host, _, _ := net.SplitHostPort(addr)
	fmt.Fprintf(&s.zone, "%s. MX 10 mx.%[1]s.\nmx.%[1]s. A %s\n", domain, host)
}

// scriptedHost is a mail host that does what no mail server can be told to do.
type scriptedHost struct {
	talk func(conn net.Conn, in *bufio.Scanner)

	mu    sync.Mutex
	heard []string
}

// script lets one serve a domain.
func (s *calloutSite) script(t *testing.T, domain string, talk func(net.Conn, *bufio.Scanner)) {
	t.Helper()
	h := &scriptedHost{talk: talk}
	ln, err := net.Listen("tcp", net.JoinHostPort(miltertest.Loopback(), calloutPort))
	if err != nil {
		t.Fatal(err)
	}
	s.hosts[domain] = h
	s.mx(domain, ln.Addr().String())
	var talks sync.WaitGroup
	talks.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			talks.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(miltertest.WaitTimeout))
				h.talk(conn, bufio.NewScanner(io.TeeReader(conn, h)))
			})
		}
	})
	t.Cleanup(talks.Wait)
	t.Cleanup(func() { _ = ln.Close() })
}

// Write notes what the host heard.
func (h *scriptedHost) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = append(h.heard, strings.ToUpper(string(p)))
	return len(p), nil
}

// smtp is a mail host whose replies begin after the command that they are for: "RCPT" has a reply of its own, others 250.
func smtp(pause time.Duration, says map[string]string) func(net.Conn, *bufio.Scanner) {
	return func(conn net.Conn, in *bufio.Scanner) {
		say := "greeting"
		for {
			time.Sleep(pause)
			reply := "250 2.0.0 ok"
			if say == "greeting" {
				reply = "220 mx.scripted.test ESMTP"
			}
			for prefix, r := range says {
				if strings.HasPrefix(say, prefix) {
					reply = r
				}
			}
			if _, err := io.WriteString(conn, reply+"\r\n"); err != nil || say == "QUIT" || strings.HasPrefix(reply, "421") || !in.Scan() {
				return
			}
			say = strings.ToUpper(in.Text())
		}
	}
}

// repeat sends a text without end.
func repeat(text string) func(net.Conn, *bufio.Scanner) {
	return func(conn net.Conn, _ *bufio.Scanner) {
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
}

// calloutConfig asks mail hosts on loopback. Bob is not kept from his mail by hosts that give no answer.
func calloutConfig(dns, more string) daemontest.Config {
	actions := daemontest.OnlyReason("callout-rejected", "reject")
	maps.Copy(actions, map[string]string{"callout-unreachable": "tempfail", "callout-pending": "tempfail", "from-callout-rejected": "reject"})
	return daemontest.Config{DNS: dns, Profile: "strict", Actions: actions, Extra: fmt.Sprintf(`budget: 2s
checks: {callout: {port: %s, allow_private: true, per_mx: 1000/m%s}}
policies:
  - recipients: [bob@mx.test]
    actions: {callout-unreachable: watch, callout-pending: watch}
`, calloutPort, more)}
}

// The mail hosts that real servers can be.
const (
	// manyKinds is a Postfix with a domain for each kind.
	manyKinds = `virtual_mailbox_domains = postfix.test, all.test, later.test, latenull.test
virtual_mailbox_maps = inline:{ {ann@postfix.test = ann/}, {@all.test = all/}, {ann@later.test = ann/}, {ann@latenull.test = ann/} }
smtpd_restriction_classes = nonull
nonull = check_sender_access inline:{ {<> = 550 5.7.1 no mail without a sender} }
smtpd_recipient_restrictions = check_recipient_access inline:{ {later.test = 450 4.2.0 greylisted}, {latenull.test = nonull} }`
	// noNull is a Postfix that refuses the null reverse-path at MAIL.
	noNull = `smtpd_delay_reject = no
smtpd_sender_restrictions = check_sender_access inline:{ {<> = 550 5.7.1 no mail without a sender} }`
)

// newCalloutSite starts the mail hosts of all senders: three real ones, and what is worse.
func newCalloutSite(t *testing.T) *calloutSite {
	t.Helper()
	s := &calloutSite{MailServer: &daemontest.MailServer{Site: miltertest.NewSite(t, "")}, hosts: map[string]*scriptedHost{}}
	start := func(domain string, run func(*miltertest.Site) *miltertest.MTA) *miltertest.Site {
		other := miltertest.NewSite(t, "")
		other.Domain = domain
		m := run(other)
		s.mx(domain, m.Open)
		if domain == "postfix.test" {
			for _, d := range []string{"all.test", "later.test", "latenull.test"} {
				s.mx(d, m.Open)
			}
		}
		return other
	}
	kinds := start("postfix.test", func(o *miltertest.Site) *miltertest.MTA { return o.Postfix(t, strings.Split(manyKinds, "\n")...) })
	s.kinds = kinds
	start("nonull.test", func(o *miltertest.Site) *miltertest.MTA { return o.Postfix(t, strings.Split(noNull, "\n")...) })
	start("sendmail.test", func(o *miltertest.Site) *miltertest.MTA { return o.Sendmail(t) })
	start("exim.test", func(o *miltertest.Site) *miltertest.MTA { return o.Exim(t) })

	s.mx("closed.test", net.JoinHostPort(miltertest.Loopback(), calloutPort))
	s.script(t, "silent.test", func(_ net.Conn, in *bufio.Scanner) { in.Scan() })
	s.script(t, "slow.test", smtp(600*time.Millisecond, map[string]string{"RCPT": "550 5.1.1 no such user here"}))
	s.script(t, "endless.test", repeat("220-welcome to the longest greeting of all\r\n"))
	s.script(t, "line.test", repeat("2"))
	s.script(t, "garbage.test", smtp(0, map[string]string{"greeting": "HTTP/1.1 400 Bad \x1b[31mRequest"}))
	s.script(t, "busy.test", smtp(0, map[string]string{"RCPT": "421 4.3.2 shutting down"}))
	s.script(t, "policy.test", smtp(0, map[string]string{"RCPT": "550 5.7.1 blocked for callouts"}))
	return s
}

// testManners reads in the log of a real server how the callouts have behaved.
func testManners(t *testing.T, s *miltertest.Site) {
	n := 0
	for _, l := range s.Log.Lines() {
		if _, said, ok := strings.Cut(l.Text, "disconnect from "); ok && strings.Contains(said, "rcpt=") {
			n++
			if !strings.Contains(said, " quit=1") || strings.Contains(said, "data") || strings.Contains(said, "vrfy") || strings.Contains(said, "unknown=") {
				t.Errorf("a callout: %s", said)
			}
		}
	}
	if n == 0 {
		t.Error("the log of the mail host has no callout")
	}
}

// calloutCase is mail from one sender.
type calloutCase struct {
	name, from string

	codes, saying string // to Alice; empty: her mail arrives
	reason        string
	at, reply     string // in the log
	later         string // codes to Alice when the answer is there, if that was pending
}

// TestCallouts has a real Postfix with milterd receive mail, whose senders' mail hosts are other real servers with their own
// users, and some that no real server is like.
func TestCallouts(t *testing.T) {
	miltertest.Require(t)
	s := newCalloutSite(t)
	s.MTA = s.Site.Postfix(t)
	if err := s.Site.DNS.Set(s.zone.String()); err != nil {
		t.Fatal(err)
	}
	s.Daemon = daemontest.StartInSite(t, s.Site, calloutConfig(s.Site.DNS.Addr, ""), s.MTA)
	const rejected, unreachable, pending = "callout-rejected", "callout-unreachable", "callout-pending"
	for _, c := range []calloutCase{
		{name: "a user of Postfix", from: "ann@postfix.test"},
		{name: "a user of Sendmail", from: "alice@sendmail.test"},
		{name: "a user of Exim", from: "alice@exim.test"},
		{name: "made up at Postfix", from: "nobody@postfix.test", codes: "550 5.1.7", saying: "mx.postfix.test takes no mail for the sender address <nobody@postfix.test>: 550 5.1.1 <nobody@postfix.test>: Recipient address rejected: User unknown", reason: rejected, at: "rcpt", reply: "550 5.1.1"},
		{name: "made up at Sendmail", from: "made-up@sendmail.test", codes: "550 5.1.7", saying: "550 5.1.1 <made-up@sendmail.test>... User unknown", reason: rejected, at: "rcpt", reply: "550 5.1.1"},
		{name: "made up at Exim", from: "nobody@exim.test", codes: "550 5.1.7", saying: "no such user", reason: rejected, at: "rcpt", reply: "550"},
		{name: "made up where everything is taken", from: "nobody@all.test"},
		{name: "greylisted", from: "ann@later.test", codes: "450 4.1.7", saying: "mx.later.test at rcpt: 450 4.2.0 <ann@later.test>: Recipient address rejected: greylisted", reason: unreachable, at: "rcpt", reply: "450 4.2.0"},
		{name: "no <> at MAIL", from: "alice@nonull.test", codes: "450 4.1.7", saying: "mx.nonull.test at mail: 550 5.7.1 <>: Sender address rejected: no mail without a sender", reason: unreachable, at: "mail", reply: "550 5.7.1"},
		{name: "no <> at RCPT", from: "ann@latenull.test", codes: "450 4.1.7", saying: "mx.latenull.test at random: 550 5.7.1 <>: Sender address rejected", reason: unreachable, at: "random", reply: "550 5.7.1"},
		{name: "closed", from: "ann@closed.test", codes: "450 4.1.7", saying: "mx.closed.test at connect: refused the connection", reason: unreachable, at: "connect", reply: "refused"},
		{name: "silent", from: "ann@silent.test", codes: "450 4.1.7", saying: "still being asked", reason: pending, at: "greeting", reply: "no reply"},
		{name: "slow", from: "ann@slow.test", codes: "450 4.1.7", saying: "still being asked", reason: pending, reply: "no reply", later: "550 5.1.7"},
		{name: "an endless greeting", from: "ann@endless.test", codes: "450 4.1.7", saying: "more than 64 lines", reason: unreachable, at: "greeting", reply: "more than 64 lines"},
		{name: "an endless line", from: "ann@line.test", codes: "450 4.1.7", saying: "more than 2048 octets", reason: unreachable, at: "greeting", reply: "more than 2048 octets"},
		{name: "garbage", from: "ann@garbage.test", codes: "450 4.1.7", saying: `does not speak SMTP: "HTTP/1.1 400 Bad ?[31mRequest"`, reason: unreachable, at: "greeting", reply: "does not speak SMTP"},
		{name: "421 in the middle", from: "ann@busy.test", codes: "450 4.1.7", saying: "mx.busy.test at random: 421 4.3.2 shutting down", reason: unreachable, at: "random", reply: "421"},
		{name: "a policy", from: "ann@policy.test", codes: "450 4.1.7", saying: "blocked for callouts", reason: unreachable, at: "random", reply: "550 5.7.1"},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, s) })
	}
	t.Run("made up author", func(t *testing.T) { testAuthor(t, s.MailServer) })
	testManners(t, s.kinds)
	for domain, h := range s.hosts {
		h.mu.Lock()
		for _, line := range h.heard {
			if strings.Contains(line, "DATA") || strings.Contains(line, "VRFY") {
				t.Errorf("%s heard %q", domain, line)
			}
		}
		h.mu.Unlock()
	}
}

func (c calloutCase) test(t *testing.T, s *calloutSite) {
	_, domain, _ := strings.Cut(c.from, "@")
	b, mark := s.MailServer, s.Daemon.Mark()
	conn := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	if c.codes == "" {
		b.Deliver(t, conn, c.from, "alice")
		b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "mail_from": c.from})
		return
	}
	conn.Must("2", "MAIL FROM:<"+c.from+">")
	daemontest.WantReply(t, conn.Cmd("RCPT TO:<alice@mx.test>"), c.codes, c.saying)
	want := daemontest.Entry{"msg": "tempfail", "mail_from": c.from, "rcpt": "alice@mx.test", "check": "callout", "reason": c.reason, "stage": "rcpt", "mx": "mx." + domain}
	if c.codes[0] == '5' {
		want["msg"] = "reject"
	}
	if c.at != "" {
		want["at"] = c.at
	}
	e := b.Daemon.AwaitEntry(t, mark, want)
	if !strings.HasPrefix(e["address"], "127.") || !strings.Contains(e["reply"], c.reply) {
		t.Errorf("the log says not who was asked, or what was said: %v", e)
	}
	if c.codes[0] == '5' {
		daemontest.WantReply(t, conn.Cmd("RCPT TO:<bob@mx.test>"), c.codes, c.saying)
		return
	}
	conn.Must("2", "RCPT TO:<bob@mx.test>") // no verdict: where that is watched, the mail arrives
	b.Send(t, conn, "bob")
	b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "watch", "mail_from": c.from, "rcpt": "bob@mx.test", "reason": c.reason})
	if c.later == "" {
		return
	}
	miltertest.Eventually(t, "the answer is there", func() bool {
		conn.Must("2", "MAIL FROM:<"+c.from+">")
		r := conn.Cmd("RCPT TO:<alice@mx.test>")
		conn.Must("2", "RSET")
		return r.Code+" "+r.Enhanced == c.later
	})
	b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "callout", "sender": "<" + c.from + ">", "answer": "rejected", "mx": "mx." + domain, "at": "rcpt"})
}

// testAuthor has an existing sender send what nobody has written.
func testAuthor(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	conn := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	daemontest.Envelope(conn, "ann@postfix.test", "alice@mx.test")
	_, msg := daemontest.UniqueMessage(daemontest.Field{"From", "nobody@exim.test"})
	daemontest.WantReply(t, conn.Data(msg), "550 5.7.1", "mx.exim.test takes no mail for the author address <nobody@exim.test>")
	b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "reject", "reason": "from-callout-rejected", "stage": "header", "mx": "mx.exim.test", "at": "rcpt"})
}

// TestCalloutsByName: hosts that want a sender are asked with one, and nobody waits for the answer.
func TestCalloutsByName(t *testing.T) {
	miltertest.Require(t)
	s := newCalloutSite(t)
	s.MTA = s.Site.Postfix(t)
	if err := s.Site.DNS.Set(s.zone.String()); err != nil {
		t.Fatal(err)
	}
	s.Daemon = daemontest.StartInSite(t, s.Site, calloutConfig(s.Site.DNS.Addr, ", from: bob@mx.test"), s.MTA)
	for from, codes := range map[string]string{
		"alice@nonull.test": "250 2.1.5", "nobody@nonull.test": "550 5.1.7", "ann@latenull.test": "250 2.1.5", "nobody@latenull.test": "550 5.1.7",
	} {
		t.Run(from, func(t *testing.T) {
			conn := s.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
			conn.Must("2", "MAIL FROM:<"+from+">")
			r := conn.Cmd("RCPT TO:<alice@mx.test>")
			miltertest.Eventually(t, "the answer is there", func() bool {
				if r.Code+" "+r.Enhanced == codes { // at once, if it came while we looked elsewhere
					return true
				}
				daemontest.WantReply(t, r, "450 4.1.7", "still being asked")
				conn.Must("2", "RSET")
				conn.Must("2", "MAIL FROM:<"+from+">")
				r = conn.Cmd("RCPT TO:<alice@mx.test>")
				return false
			})
			if codes[0] == '2' {
				s.Send(t, conn, "alice")
			}
		})
	}
}
