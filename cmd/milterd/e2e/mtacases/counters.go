package mtacases

import (
	"fmt"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// wantBlocked ends the test unless a reply says that the client is blocked for an hour.
func wantBlocked(t *testing.T, r miltertest.Reply, text string) {
	t.Helper()
	daemontest.WantReply(t, r, "450 4.7.1", text)
	match := daemontest.BlockedUntil.FindStringSubmatch(r.Text)
	if match == nil {
		t.Fatalf("no time in %q", r)
	}
	until, err := time.Parse("2006-01-02 15:04 MST", match[1])
	if left := time.Until(until); err != nil || left < 55*time.Minute || left > 62*time.Minute {
		t.Errorf("blocked until %s, in %v: want an hour", match[1], left)
	}
}

// wantUncounted fails the test if the check counters refused anything.
func wantUncounted(t *testing.T, m *daemontest.MailServer, mark int) {
	t.Helper()
	for _, e := range m.Daemon.Entries(t, mark) {
		if e["check"] == "counters" {
			t.Errorf("counted: %v", e)
		}
	}
}

// testGuesses tests that a client that names too many unknown recipients is blocked, and no one else.
func testGuesses(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	c := m.ConnectGood(t)
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	for i := range daemontest.Limit {
		c.Must("5", fmt.Sprintf("RCPT TO:<guess%d@mx.test>", i))
	}
	c.Must("2", "RCPT TO:<alice@mx.test>")
	c.Must("5", "RCPT TO:<one.too.many@mx.test>")
	wantBlocked(t, c.Cmd("RCPT TO:<bob@mx.test>"), daemontest.GoodClient+" named too many unknown recipients and is blocked until")
	c.Must("2", "RSET")
	daemontest.Envelope(c, daemontest.GoodSender, "postmaster@mx.test")
	m.Send(t, c, "postmaster")

	// The block applies to other connections, HELO names and senders, and not to mail to the postmaster.
	for _, from := range []string{daemontest.GoodSender, "a@none.test", ""} {
		second := m.Connect(t, daemontest.GoodClient, "second.client.test")
		second.Must("2", "MAIL FROM:<"+from+">")
		wantBlocked(t, second.Cmd("RCPT TO:<bob@mx.test>"), "for too many unknown recipients")
		second.Must("5", "RCPT TO:<guess@mx.test>")
		second.Must("2", "RCPT TO:<postmaster@mx.test>")
		m.Send(t, second, "postmaster")
	}
	// It does not apply to another address, or to an authenticated user at the blocked one.
	_, r := attempt(t, m, stranger, daemontest.GoodSender, "bob@mx.test")
	greylistedFor(t, r)
	user := miltertest.DialSMTP(t, m.Addr, daemontest.GoodClient)
	m.Authenticate(user)
	daemontest.Envelope(user, "alice@mx.test", "bob@mx.test")
	m.Send(t, user, "bob")

	m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "tempfail", "reason": "too-many-bad-recipients", "client": daemontest.GoodClient, "rcpt": "bob@mx.test"})
	m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "tempfail", "reason": "client-blocked", "client": daemontest.GoodClient, "mail_from": "a@none.test"})
}

// testRelaying tests that refused recipients of other domains do not count as unknown recipients.
func testRelaying(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	c := m.ConnectGood(t)
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	for i := range 4 * daemontest.Limit {
		c.Must("5", fmt.Sprintf("RCPT TO:<guess%d@elsewhere.test>", i))
	}
	c.Must("2", "RCPT TO:<alice@mx.test>")
	m.Send(t, c, "alice")
	wantUncounted(t, m, mark)
}

// testResets tests that a client that gives up too many transactions by RSET is blocked.
func testResets(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	c := m.ConnectGood(t)
	for range daemontest.Limit {
		daemontest.Envelope(c, daemontest.GoodSender, "alice@mx.test")
		c.Must("2", "RSET")
	}
	daemontest.Envelope(c, daemontest.GoodSender, "alice@mx.test")
	wantUncounted(t, m, mark)
	c.Must("2", "RSET")
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	wantBlocked(t, c.Cmd("RCPT TO:<alice@mx.test>"), daemontest.GoodClient+" gave up too many mail transactions and is blocked until")

	_, r := attempt(t, m, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test")
	wantBlocked(t, r, "for too many mail transactions given up")
	m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "tempfail", "reason": "too-many-resets", "client": daemontest.GoodClient})
}

// many is a number of transactions over every limit of the check counters.
const many = 40

// testBusyClient tests that the ordinary behaviour of a client with much good mail is not counted: RSET before and after each
// message, a second EHLO, an unknown recipient now and then.
func testBusyClient(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	c := m.ConnectGood(t)
	c.StartTLS()
	c.Must("2", "EHLO "+daemontest.GoodHelo)
	last := ""
	for i := range many {
		c.Must("2", "RSET")
		c.Must("2", "RSET")
		daemontest.Envelope(c, daemontest.GoodSender, "alice@mx.test")
		if i%4 == 0 {
			c.Must("5", fmt.Sprintf("RCPT TO:<gone%d@mx.test>", i))
		}
		c.Must("2", "RCPT TO:<bob@mx.test>")
		subject, msg := daemontest.UniqueMessage()
		daemontest.SendMessage(t, c, msg)
		last = subject
		c.Must("2", "RSET")
		if i == many/2 {
			c.Must("2", "EHLO "+daemontest.GoodHelo)
		}
	}
	m.Delivered(t, "bob", last)
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	c.Must("2", "RCPT TO:<alice@mx.test>")
	c.Must("2", "QUIT")
	m.Deliver(t, m.ConnectGood(t), daemontest.GoodSender, "alice")
	miltertest.Eventually(t, "every message is logged", func() bool {
		accepted := 0
		for _, e := range m.Daemon.Entries(t, mark) {
			if e["msg"] == "accept" {
				accepted++
			}
		}
		return accepted == many+1
	})
	wantUncounted(t, m, mark)
}

// testOldList tests that a client that sends to many unknown recipients, and to as many others, is not blocked.
func testOldList(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	c := m.ConnectGood(t)
	for i := range 3 * daemontest.Limit {
		c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
		c.Must("2", "RCPT TO:<bob@mx.test>")
		c.Must("5", fmt.Sprintf("RCPT TO:<gone%d@mx.test>", i))
		_, msg := daemontest.UniqueMessage()
		daemontest.SendMessage(t, c, msg)
	}
	m.Deliver(t, m.ConnectGood(t), daemontest.GoodSender, "alice")
	wantUncounted(t, m, mark)
}
