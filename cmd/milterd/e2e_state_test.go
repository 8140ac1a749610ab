package main_test

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

// What a client did before decides what it may do now: through real mail servers, whose events differ.

// memories are shown with the defaults, but for what the settings say.
var memories = []struct {
	behaviour
	settings daemontest.Config
	mta      string // the only one that the case can be shown with; empty: both
}{
	{behaviour: behaviour{"greylisting", testGreylisting}, settings: daemontest.Config{Extra: shortDelay}},
	{behaviour: behaviour{"greylisted bounces", testGreylistedBounce}, settings: daemontest.Config{Extra: shortDelay}},
	// The Postfix of the site relays for nobody: XCLIENT alone does not make it believe in a user.
	{behaviour: behaviour{"correspondents", testCorrespondents}, settings: daemontest.Config{Actions: map[string]string{"first-contact": "greylist"}}, mta: "sendmail"},
	{behaviour: behaviour{"guessed recipients", testGuesses}, settings: daemontest.Config{}},
	{behaviour: behaviour{"refused relaying", testRelaying}, settings: daemontest.Config{}},
	{behaviour: behaviour{"given up transactions", testGivenUp}, settings: daemontest.Config{}},
	{behaviour: behaviour{"a hard-working client", testHardWorking}, settings: daemontest.Config{}},
	{behaviour: behaviour{"a greylisted client", testPatient}, settings: daemontest.Config{}},
	{behaviour: behaviour{"a client with an old list", testOldList}, settings: daemontest.Config{}},
}

// shortDelay is one that a test can wait for. A delay counts from the full second in which it begins.
const (
	delaySeconds = 2
	shortDelay   = "checks: {greylist: {delay: 2s}}\n"
)

// TestMemory drives a real Postfix and a real Sendmail, with a daemon of its own for each case.
func TestMemory(t *testing.T) {
	miltertest.Require(t)
	site := miltertest.NewSite(t, daemontest.World)
	for _, m := range []*miltertest.MTA{site.Postfix(t), site.Sendmail(t)} {
		for _, c := range memories {
			if c.mta != "" && c.mta != m.Name {
				continue
			}
			t.Run(m.Name+" and "+c.name, func(t *testing.T) {
				c.settings.DNS, c.settings.Profile = site.DNS.Addr, "safe"
				c.test(t, &daemontest.MailServer{MTA: m, Site: site, Daemon: daemontest.StartInSite(t, site, c.settings, m)})
			})
		}
	}
}

// stranger and neighbour have no reverse name, and are in one /24: two hosts of one pool.
const (
	stranger  = "127.0.0.13"
	neighbour = "127.0.0.14"
)

// attempt is one delivery of a client that the test knows to be held or let through at RCPT.
func attempt(t *testing.T, b *daemontest.MailServer, source, from, rcpt string) (*miltertest.SMTPClient, miltertest.Reply) {
	t.Helper()
	c := b.Connect(t, source, daemontest.GoodHelo)
	c.Must("2", "MAIL FROM:<"+from+">")
	return c, c.Cmd("RCPT TO:<" + rcpt + ">")
}

var secondsLeft = regexp.MustCompile(`greylisted for (\d+) s more: `)

// greylistedFor is how many seconds a reply says that are left. Anything else than a reply of greylisting ends the test.
func greylistedFor(t *testing.T, r miltertest.Reply) int {
	t.Helper()
	daemontest.WantReply(t, r, "451 4.7.1", "; please try again")
	m := secondsLeft.FindStringSubmatch(r.Text)
	if m == nil {
		t.Fatalf("no seconds in %q", r)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func testGreylisting(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	began := time.Now()
	c, r := attempt(t, b, stranger, daemontest.GoodSender, "alice@mx.test")
	left := greylistedFor(t, r)
	if left != delaySeconds || !strings.Contains(r.Text, stranger+" has no reverse DNS name") {
		t.Errorf("first attempt: %q, want %d seconds and why", r, delaySeconds)
	}
	c.Must("2", "RCPT TO:<postmaster@mx.test>")
	c.Must("2", "QUIT")
	first := time.Now()

	// It comes back too early, again and again, from all hosts of its pool: the clock goes on.
	refused := 0
	miltertest.Eventually(t, "the retry passes", func() bool {
		c, r = attempt(t, b, []string{stranger, neighbour}[refused%2], daemontest.GoodSender, "alice@mx.test")
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
		t.Error("nobody came back too early")
	}
	// Times are kept in seconds: the first one may have been almost over.
	if waited := time.Since(began); waited < (delaySeconds-1)*time.Second {
		t.Errorf("passed after %v", waited)
	}
	if waited := time.Since(first); waited > (delaySeconds+2)*time.Second {
		t.Errorf("passed only after %v, and %d early retries", waited, refused)
	}
	b.Send(t, c, "alice")

	// They are known now; another sender is not.
	c = b.Connect(t, neighbour, daemontest.GoodHelo)
	b.Deliver(t, c, daemontest.GoodSender, "alice")
	c.Must("2", "MAIL FROM:<b@sender.test>")
	greylistedFor(t, c.Cmd("RCPT TO:<alice@mx.test>"))
	// Nothing is suspicious about others.
	c = b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	b.Deliver(t, c, daemontest.GoodSender, "bob")

	e := b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "tempfail", "reason": "greylisted", "client": stranger})
	if !e.Has(daemontest.Entry{"suspicion": "rdns-missing", "seconds": strconv.Itoa(delaySeconds), "stage": "rcpt", "check": "greylist"}) {
		t.Errorf("log of the first attempt: %v", e)
	}
	b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "client": neighbour, "rcpt": "alice@mx.test"})
}

// testGreylistedBounce shows that other sites' callouts have their answer: what has no sender waits at its end.
func testGreylistedBounce(t *testing.T, b *daemontest.MailServer) {
	try := func() miltertest.Reply {
		c, r := attempt(t, b, stranger, "", "alice@mx.test")
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

// testCorrespondents has a user write to somebody, whose answer does not wait.
func testCorrespondents(t *testing.T, b *daemontest.MailServer) {
	_, r := attempt(t, b, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test")
	if !strings.Contains(r.Text, "sends the first mail") {
		t.Fatalf("a first contact got %q", r)
	}
	greylistedFor(t, r)

	mark := b.Daemon.Mark()
	c := miltertest.DialSMTP(t, b.Addr, stranger)
	b.Authenticate(c, b.Site)
	daemontest.Envelope(c, "alice@mx.test", daemontest.GoodSender)
	_, msg := daemontest.UniqueMessage()
	if r := c.Data(msg); r.Code != "250" {
		t.Fatalf("message of a user: %s", r)
	}
	b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "mail_from": "alice@mx.test"})

	c = b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	b.Deliver(t, c, daemontest.GoodSender, "alice")
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	greylistedFor(t, c.Cmd("RCPT TO:<bob@mx.test>")) // who has not written
}

// wantBlocked reads until when a reply says that the client is blocked: about an hour from now.
func wantBlocked(t *testing.T, r miltertest.Reply, saying string) {
	t.Helper()
	daemontest.WantReply(t, r, "450 4.7.1", saying)
	m := daemontest.BlockedUntil.FindStringSubmatch(r.Text)
	if m == nil {
		t.Fatalf("no time in %q", r)
	}
	until, err := time.Parse("2006-01-02 15:04 MST", m[1])
	if left := time.Until(until); err != nil || left < 55*time.Minute || left > 62*time.Minute {
		t.Errorf("blocked until %s, in %v: want an hour", m[1], left)
	}
}

// wantUncounted fails if anything was held against a client.
func wantUncounted(t *testing.T, b *daemontest.MailServer, mark int) {
	t.Helper()
	for _, e := range b.Daemon.Entries(t, mark) {
		if e["check"] == "counters" {
			t.Errorf("counted: %v", e)
		}
	}
}

func testGuesses(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	for i := range daemontest.Limit {
		c.Must("5", fmt.Sprintf("RCPT TO:<guess%d@mx.test>", i))
	}
	c.Must("2", "RCPT TO:<alice@mx.test>")
	c.Must("5", "RCPT TO:<one.too.many@mx.test>")
	wantBlocked(t, c.Cmd("RCPT TO:<bob@mx.test>"), daemontest.GoodClient+" named too many unknown recipients and is blocked until")
	c.Must("2", "RSET")
	daemontest.Envelope(c, daemontest.GoodSender, "postmaster@mx.test")
	b.Send(t, c, "postmaster")

	// A second connection feels it, whatever its name and sender, and also finds the postmaster.
	for _, from := range []string{daemontest.GoodSender, "a@none.test", ""} {
		second := b.Connect(t, daemontest.GoodClient, "second.client.test")
		second.Must("2", "MAIL FROM:<"+from+">")
		wantBlocked(t, second.Cmd("RCPT TO:<bob@mx.test>"), "for too many unknown recipients")
		second.Must("5", "RCPT TO:<guess@mx.test>")
		second.Must("2", "RCPT TO:<postmaster@mx.test>")
		b.Send(t, second, "postmaster")
	}
	// A neighbour is somebody else, and so is a user who sends from there.
	_, r := attempt(t, b, stranger, daemontest.GoodSender, "bob@mx.test")
	greylistedFor(t, r)
	user := miltertest.DialSMTP(t, b.Addr, daemontest.GoodClient)
	b.Authenticate(user, b.Site)
	daemontest.Envelope(user, "alice@mx.test", "bob@mx.test")
	b.Send(t, user, "bob")

	b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "tempfail", "reason": "too-many-bad-recipients", "client": daemontest.GoodClient, "rcpt": "bob@mx.test"})
	b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "tempfail", "reason": "client-blocked", "client": daemontest.GoodClient, "mail_from": "a@none.test"})
}

// testRelaying shows that a recipient elsewhere is no guess.
func testRelaying(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	for i := range 4 * daemontest.Limit {
		c.Must("5", fmt.Sprintf("RCPT TO:<guess%d@elsewhere.test>", i))
	}
	c.Must("2", "RCPT TO:<alice@mx.test>")
	b.Send(t, c, "alice")
	wantUncounted(t, b, mark)
}

func testGivenUp(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	for range daemontest.Limit {
		daemontest.Envelope(c, daemontest.GoodSender, "alice@mx.test")
		c.Must("2", "RSET")
	}
	daemontest.Envelope(c, daemontest.GoodSender, "alice@mx.test")
	wantUncounted(t, b, mark)
	c.Must("2", "RSET")
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	wantBlocked(t, c.Cmd("RCPT TO:<alice@mx.test>"), daemontest.GoodClient+" gave up too many mail transactions and is blocked until")

	_, r := attempt(t, b, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test")
	wantBlocked(t, r, "for too many mail transactions given up")
	b.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "tempfail", "reason": "too-many-resets", "client": daemontest.GoodClient})
}

// many is how much a busy host does on one connection.
const many = 40

// testHardWorking sends good mail as mail servers do: TLS, RSET before and after each message and instead of MAIL, a second
// EHLO, a recipient that is gone now and then.
func testHardWorking(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
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
		if r := c.Data(msg); r.Code != "250" {
			t.Fatalf("message %d: %s", i+1, r)
		}
		last = subject
		c.Must("2", "RSET")
		if i == many/2 {
			c.Must("2", "EHLO "+daemontest.GoodHelo)
		}
	}
	b.Delivered(t, "bob", last)
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	c.Must("2", "RCPT TO:<alice@mx.test>")
	c.Must("2", "QUIT")
	// Who comes afterwards comes to a client in good standing.
	b.Deliver(t, b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo), daemontest.GoodSender, "alice")
	miltertest.Eventually(t, "every message is logged", func() bool {
		accepted := 0
		for _, e := range b.Daemon.Entries(t, mark) {
			if e["msg"] == "accept" {
				accepted++
			}
		}
		return accepted == many+1
	})
	wantUncounted(t, b, mark)
}

// testPatient has all mail greylisted, which the client takes for what it is: half of it as a simple client does, half with
// PIPELINING, where DATA is on its way before the replies are here.
func testPatient(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	c := b.Connect(t, stranger, daemontest.GoodHelo)
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
	_, r := attempt(t, b, stranger, daemontest.GoodSender, "alice@mx.test")
	greylistedFor(t, r)
	wantUncounted(t, b, mark)
	miltertest.Eventually(t, "every delivery is logged", func() bool {
		held := 0
		for _, e := range b.Daemon.Entries(t, mark) {
			if e["reason"] == "greylisted" {
				held++
			}
		}
		return held == many+many/2+2
	})
}

// testOldList sends one message to many who are gone, and to more who are not.
func testOldList(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	for i := range 3 * daemontest.Limit {
		c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
		c.Must("2", "RCPT TO:<bob@mx.test>")
		c.Must("5", fmt.Sprintf("RCPT TO:<gone%d@mx.test>", i))
		_, msg := daemontest.UniqueMessage()
		if r := c.Data(msg); r.Code != "250" {
			t.Fatalf("message %d: %s", i+1, r)
		}
	}
	b.Deliver(t, b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo), daemontest.GoodSender, "alice")
	wantUncounted(t, b, mark)
}
