package mtacases

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// histories are tests in which milterd's decision depends on what a client did before.
var histories = []struct {
	name   string
	test   func(*testing.T, *daemontest.MailServer)
	config daemontest.Config // DNS and Profile are set by Run
	mta    string            // the only mail server that can run the test; empty: all
}{
	{name: "greylisting", test: testGreylisting, config: daemontest.Config{Extra: shortDelay}},
	{name: "greylisted bounces", test: testGreylistedBounce, config: daemontest.Config{Extra: shortDelay}},
	// The site's Postfix relays for no one; XCLIENT LOGIN does not authenticate for relaying.
	{
		name: "correspondents", test: testCorrespondents, mta: "sendmail",
		config: daemontest.Config{Actions: map[string]string{"first-contact": "greylist"}},
	},
	{name: "client greylisted many times", test: testManyGreylisted},
	{name: "guessed recipients", test: testGuesses},
	{name: "refused relaying", test: testRelaying},
	{name: "transactions given up", test: testResets},
	{name: "messages that another filter defers", test: testOtherFilter},
	{name: "busy client", test: testBusyClient},
	{name: "old mailing list", test: testOldList},
}

// A greylisting delay that a test can wait for. It is counted from the full second in which it begins.
const (
	delaySeconds = 2
	shortDelay   = "checks: {greylist: {delay: 2s}}\n"
)

// Two clients without a reverse DNS name in the same /24, which greylisting treats as one.
const (
	stranger  = "127.0.0.13"
	neighbour = "127.0.0.14"
)

// attempt begins a transaction and returns the connection and the reply to RCPT.
func attempt(t *testing.T, m *daemontest.MailServer, source, from, rcpt string) (*miltertest.SMTPClient, miltertest.Reply) {
	t.Helper()
	c := m.Connect(t, source, daemontest.GoodHelo)
	c.Must("2", "MAIL FROM:<"+from+">")
	return c, c.Cmd("RCPT TO:<" + rcpt + ">")
}

var secondsLeft = regexp.MustCompile(`greylisted for (\d+) s more: `)

// greylistedFor returns the seconds in a reply of greylisting. Another reply ends the test.
func greylistedFor(t *testing.T, r miltertest.Reply) int {
	t.Helper()
	daemontest.WantReply(t, r, "451 4.7.1", "; please try again")
	match := secondsLeft.FindStringSubmatch(r.Text)
	if match == nil {
		t.Fatalf("no seconds in %q", r)
	}
	n, err := strconv.Atoi(match[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// testGreylisting tests that a client is deferred for the delay, which early retries do not prolong, and is then known.
func testGreylisting(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	began := time.Now()
	c, r := attempt(t, m, stranger, daemontest.GoodSender, "alice@mx.test")
	left := greylistedFor(t, r)
	if left != delaySeconds || !strings.Contains(r.Text, stranger+" has no reverse DNS name") {
		t.Errorf("first attempt: %q, want %d seconds and why", r, delaySeconds)
	}
	c.Must("2", "RCPT TO:<postmaster@mx.test>")
	c.Must("2", "QUIT")
	first := time.Now()

	// Early retries come from both hosts.
	refused := 0
	miltertest.Eventually(t, "the retry passes", func() bool {
		c, r = attempt(t, m, []string{stranger, neighbour}[refused%2], daemontest.GoodSender, "alice@mx.test")
		if r.Code == "250" {
			return true
		}
		defer c.Close()
		refused++
		n := greylistedFor(t, r)
		if n > left {
			t.Fatalf("%d seconds are left after %d", n, left)
		}
		left = n
		return false
	})
	if refused == 0 {
		t.Error("no retry was early")
	}
	// Times are stored in seconds, so the delay may be up to a second shorter.
	if waited := time.Since(began); waited < (delaySeconds-1)*time.Second {
		t.Errorf("passed after %v", waited)
	}
	if waited := time.Since(first); waited > (delaySeconds+2)*time.Second {
		t.Errorf("passed only after %v, and %d early retries", waited, refused)
	}
	m.Send(t, c, "alice")

	// Both hosts are known for this sender and recipient, and for no other sender.
	c = m.Connect(t, neighbour, daemontest.GoodHelo)
	m.Deliver(t, c, daemontest.GoodSender, "alice")
	c.Must("2", "MAIL FROM:<b@sender.test>")
	greylistedFor(t, c.Cmd("RCPT TO:<alice@mx.test>"))
	// A client without a suspicion is not greylisted.
	c = m.ConnectGood(t)
	m.Deliver(t, c, daemontest.GoodSender, "bob")

	e := m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "greylist", "reason": "greylisted", "client": stranger})
	if !e.Has(daemontest.Entry{"suspicion": "rdns-missing", "seconds": strconv.Itoa(delaySeconds), "stage": "rcpt", "check": "greylist"}) {
		t.Errorf("log of the first attempt: %v", e)
	}
	m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "client": neighbour, "rcpt": "alice@mx.test"})
}

// testGreylistedBounce tests that a message with the null reverse-path is deferred after the message, so that callouts of
// other sites pass at RCPT.
func testGreylistedBounce(t *testing.T, m *daemontest.MailServer) {
	try := func() miltertest.Reply {
		c, r := attempt(t, m, stranger, "", "alice@mx.test")
		defer c.Close()
		if r.Code != "250" {
			t.Fatalf("RCPT of a null sender: %s", r)
		}
		_, msg := daemontest.UniqueMessage()
		return c.Data(msg)
	}
	greylistedFor(t, try())
	miltertest.Eventually(t, "the bounce passes", func() bool {
		r := try()
		if r.Code == "250" {
			return true
		}
		greylistedFor(t, r)
		return false
	})
}

// testCorrespondents tests that the answer to a user's message is not greylisted.
func testCorrespondents(t *testing.T, m *daemontest.MailServer) {
	_, r := attempt(t, m, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test")
	if !strings.Contains(r.Text, "sends the first mail") {
		t.Fatalf("a first contact got %q", r)
	}
	greylistedFor(t, r)

	c := miltertest.DialSMTP(t, m.Addr, stranger)
	m.Authenticate(c)
	daemontest.Envelope(c, "alice@mx.test", daemontest.GoodSender)
	_, msg := daemontest.UniqueMessage()
	daemontest.SendMessage(t, c, msg)

	c = m.ConnectGood(t)
	m.Deliver(t, c, daemontest.GoodSender, "alice")
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	greylistedFor(t, c.Cmd("RCPT TO:<bob@mx.test>")) // bob has not written
}

// testManyGreylisted tests that deferred transactions do not count as given up or as errors. Half of them use PIPELINING,
// where the client sends DATA before it has the replies to RCPT.
func testManyGreylisted(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	c := m.Connect(t, stranger, daemontest.GoodHelo)
	for i := range many {
		from := fmt.Sprintf("list-%c%c@sender.test", 'a'+i/26, 'a'+i%26)
		if i%2 == 0 {
			c.Must("2", "MAIL FROM:<"+from+">")
			greylistedFor(t, c.Cmd("RCPT TO:<alice@mx.test>"))
			c.Must("2", "RSET")
			continue
		}
		c.Send("MAIL FROM:<" + from + ">\r\nRCPT TO:<alice@mx.test>\r\nRCPT TO:<bob@mx.test>\r\nDATA\r\n")
		if r := c.Read(); r.Code != "250" {
			t.Fatalf("MAIL: %s", r)
		}
		greylistedFor(t, c.Read())
		greylistedFor(t, c.Read())
		if r := c.Read(); r.Code[:1] == "2" || r.Code[:1] == "3" {
			t.Fatalf("DATA without recipients: %s", r)
		}
		c.Must("2", "RSET")
	}
	c.Must("2", "MAIL FROM:<last@sender.test>")
	greylistedFor(t, c.Cmd("RCPT TO:<alice@mx.test>"))
	c.Must("2", "QUIT")
	_, r := attempt(t, m, stranger, daemontest.GoodSender, "alice@mx.test")
	greylistedFor(t, r)
	wantUncounted(t, m, mark)
	miltertest.Eventually(t, "every delivery is logged", func() bool {
		held := 0
		for _, e := range m.Daemon.Entries(t, mark) {
			if e["reason"] == "greylisted" {
				held++
			}
		}
		return held == many+many/2+2
	})
}
