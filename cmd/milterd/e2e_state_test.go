package main_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"milterd/milter/miltertest"
)

// What a client did before decides what it may do now: through real mail servers, whose events differ.

// memories are shown with the defaults, but for what the settings say.
var memories = []struct {
	behaviour
	settings config
	mta      string // the only one that the case can be shown with; empty: both
}{
	{behaviour: behaviour{"greylisting", testGreylisting}, settings: config{more: shortDelay}},
	{behaviour: behaviour{"greylisted bounces", testGreylistedBounce}, settings: config{more: shortDelay}},
	// The Postfix of the site relays for nobody: XCLIENT alone does not make it believe in a user.
	{behaviour: behaviour{"correspondents", testCorrespondents}, settings: config{actions: map[string]string{"first-contact": "greylist"}}, mta: "sendmail"},
	{behaviour: behaviour{"guessed recipients", testGuesses}, settings: config{}},
	{behaviour: behaviour{"refused relaying", testRelaying}, settings: config{}},
	{behaviour: behaviour{"given up transactions", testGivenUp}, settings: config{}},
	{behaviour: behaviour{"a hard-working client", testHardWorking}, settings: config{}},
	{behaviour: behaviour{"a greylisted client", testPatient}, settings: config{}},
	{behaviour: behaviour{"a client with an old list", testOldList}, settings: config{}},
}

// shortDelay is one that a test can wait for. A delay counts from the full second in which it begins.
const (
	delaySeconds = 2
	shortDelay   = "checks: {greylist: {delay: 2s}}\n"
)

// TestMemory drives a real Postfix and a real Sendmail, with a daemon of its own for each case.
func TestMemory(t *testing.T) {
	miltertest.Require(t)
	site := miltertest.NewSite(t, world)
	for _, m := range []*miltertest.MTA{site.Postfix(t), site.Sendmail(t)} {
		for _, c := range memories {
			if c.mta != "" && c.mta != m.Name {
				continue
			}
			t.Run(m.Name+" and "+c.name, func(t *testing.T) {
				c.settings.dns, c.settings.profile = site.DNS.Addr, "safe"
				c.test(t, &bench{m, site, startInSite(t, site, c.settings, m)})
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
func (b *bench) attempt(t *testing.T, source, from, rcpt string) (*miltertest.SMTPClient, miltertest.Reply) {
	t.Helper()
	c := b.open(t, source, goodHelo)
	c.Must("2", "MAIL FROM:<"+from+">")
	return c, c.Cmd("RCPT TO:<" + rcpt + ">")
}

var secondsLeft = regexp.MustCompile(`greylisted for (\d+) s more: `)

// greylistedFor is how many seconds a reply says that are left. Anything else than a reply of greylisting ends the test.
func greylistedFor(t *testing.T, r miltertest.Reply) int {
	t.Helper()
	wantReply(t, r, "451 4.7.1", "; please try again")
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

func testGreylisting(t *testing.T, b *bench) {
	mark := b.daemon.mark()
	began := time.Now()
	c, r := b.attempt(t, stranger, goodSender, "alice@mx.test")
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
		c, r = b.attempt(t, []string{stranger, neighbour}[refused%2], goodSender, "alice@mx.test")
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
	b.send(t, c, "alice")

	// They are known now; another sender is not.
	c = b.open(t, neighbour, goodHelo)
	b.deliver(t, c, goodSender, "alice")
	c.Must("2", "MAIL FROM:<b@sender.test>")
	greylistedFor(t, c.Cmd("RCPT TO:<alice@mx.test>"))
	// Nothing is suspicious about others.
	c = b.open(t, goodClient, goodHelo)
	b.deliver(t, c, goodSender, "bob")

	e := b.daemon.awaitEntry(t, mark, entry{"msg": "tempfail", "reason": "greylisted", "client": stranger})
	if !e.has(entry{"suspicion": "rdns-missing", "seconds": strconv.Itoa(delaySeconds), "stage": "rcpt", "check": "greylist"}) {
		t.Errorf("log of the first attempt: %v", e)
	}
	b.daemon.awaitEntry(t, mark, entry{"msg": "accept", "client": neighbour, "rcpt": "alice@mx.test"})
}

// testGreylistedBounce shows that other sites' callouts have their answer: what has no sender waits at its end.
func testGreylistedBounce(t *testing.T, b *bench) {
	try := func() miltertest.Reply {
		c, r := b.attempt(t, stranger, "", "alice@mx.test")
		defer c.Close()
		if r.Code != "250" {
			t.Fatalf("RCPT of a null sender: %s", r)
		}
		_, msg := unique()
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
func testCorrespondents(t *testing.T, b *bench) {
	_, r := b.attempt(t, goodClient, goodSender, "alice@mx.test")
	if !strings.Contains(r.Text, "sends the first mail") {
		t.Fatalf("a first contact got %q", r)
	}
	greylistedFor(t, r)

	mark := b.daemon.mark()
	c := miltertest.DialSMTP(t, b.Addr, stranger)
	b.Authenticate(c, b.site)
	envelope(c, "alice@mx.test", goodSender)
	_, msg := unique()
	if r := c.Data(msg); r.Code != "250" {
		t.Fatalf("message of a user: %s", r)
	}
	b.daemon.awaitEntry(t, mark, entry{"msg": "accept", "mail_from": "alice@mx.test"})

	c = b.open(t, goodClient, goodHelo)
	b.deliver(t, c, goodSender, "alice")
	c.Must("2", "MAIL FROM:<"+goodSender+">")
	greylistedFor(t, c.Cmd("RCPT TO:<bob@mx.test>")) // who has not written
}

var blockedUntil = regexp.MustCompile(`blocked until (\d{4}-\d\d-\d\d \d\d:\d\d UTC)`)

// wantBlocked reads until when a reply says that the client is blocked: about an hour from now.
func wantBlocked(t *testing.T, r miltertest.Reply, saying string) {
	t.Helper()
	wantReply(t, r, "450 4.7.1", saying)
	m := blockedUntil.FindStringSubmatch(r.Text)
	if m == nil {
		t.Fatalf("no time in %q", r)
	}
	until, err := time.Parse("2006-01-02 15:04 MST", m[1])
	if left := time.Until(until); err != nil || left < 55*time.Minute || left > 62*time.Minute {
		t.Errorf("blocked until %s, in %v: want an hour", m[1], left)
	}
}

// wantUncounted fails if anything was held against a client.
func (b *bench) wantUncounted(t *testing.T, mark int) {
	t.Helper()
	for _, e := range b.daemon.entries(t, mark) {
		if e["check"] == "counters" {
			t.Errorf("counted: %v", e)
		}
	}
}

// limit is how many of what a client should not do are let pass by default.
const limit = 10

func testGuesses(t *testing.T, b *bench) {
	mark := b.daemon.mark()
	c := b.open(t, goodClient, goodHelo)
	c.Must("2", "MAIL FROM:<"+goodSender+">")
	for i := range limit {
		c.Must("5", fmt.Sprintf("RCPT TO:<guess%d@mx.test>", i))
	}
	c.Must("2", "RCPT TO:<alice@mx.test>")
	c.Must("5", "RCPT TO:<one.too.many@mx.test>")
	wantBlocked(t, c.Cmd("RCPT TO:<bob@mx.test>"), goodClient+" named too many unknown recipients and is blocked until")
	c.Must("2", "RSET")
	envelope(c, goodSender, "postmaster@mx.test")
	b.send(t, c, "postmaster")

	// A second connection feels it, whatever its name and sender, and also finds the postmaster.
	for _, from := range []string{goodSender, "a@none.test", ""} {
		second := b.open(t, goodClient, "second.client.test")
		second.Must("2", "MAIL FROM:<"+from+">")
		wantBlocked(t, second.Cmd("RCPT TO:<bob@mx.test>"), "for too many unknown recipients")
		second.Must("5", "RCPT TO:<guess@mx.test>")
		second.Must("2", "RCPT TO:<postmaster@mx.test>")
		b.send(t, second, "postmaster")
	}
	// A neighbour is somebody else, and so is a user who sends from there.
	_, r := b.attempt(t, stranger, goodSender, "bob@mx.test")
	greylistedFor(t, r)
	user := miltertest.DialSMTP(t, b.Addr, goodClient)
	b.Authenticate(user, b.site)
	envelope(user, "alice@mx.test", "bob@mx.test")
	b.send(t, user, "bob")

	b.daemon.awaitEntry(t, mark, entry{"msg": "tempfail", "reason": "too-many-bad-recipients", "client": goodClient, "rcpt": "bob@mx.test"})
	b.daemon.awaitEntry(t, mark, entry{"msg": "tempfail", "reason": "client-blocked", "client": goodClient, "mail_from": "a@none.test"})
}

// testRelaying shows that a recipient elsewhere is no guess.
func testRelaying(t *testing.T, b *bench) {
	mark := b.daemon.mark()
	c := b.open(t, goodClient, goodHelo)
	c.Must("2", "MAIL FROM:<"+goodSender+">")
	for i := range 4 * limit {
		c.Must("5", fmt.Sprintf("RCPT TO:<guess%d@elsewhere.test>", i))
	}
	c.Must("2", "RCPT TO:<alice@mx.test>")
	b.send(t, c, "alice")
	b.wantUncounted(t, mark)
}

func testGivenUp(t *testing.T, b *bench) {
	mark := b.daemon.mark()
	c := b.open(t, goodClient, goodHelo)
	for range limit {
		envelope(c, goodSender, "alice@mx.test")
		c.Must("2", "RSET")
	}
	envelope(c, goodSender, "alice@mx.test")
	b.wantUncounted(t, mark)
	c.Must("2", "RSET")
	c.Must("2", "MAIL FROM:<"+goodSender+">")
	wantBlocked(t, c.Cmd("RCPT TO:<alice@mx.test>"), goodClient+" gave up too many mail transactions and is blocked until")

	_, r := b.attempt(t, goodClient, goodSender, "alice@mx.test")
	wantBlocked(t, r, "for too many mail transactions given up")
	b.daemon.awaitEntry(t, mark, entry{"msg": "tempfail", "reason": "too-many-resets", "client": goodClient})
}

// many is how much a busy host does on one connection.
const many = 40

// testHardWorking sends good mail as mail servers do: TLS, RSET before and after each message and instead of MAIL, a second
// EHLO, a recipient that is gone now and then.
func testHardWorking(t *testing.T, b *bench) {
	mark := b.daemon.mark()
	c := b.open(t, goodClient, goodHelo)
	c.StartTLS()
	c.Must("2", "EHLO "+goodHelo)
	last := ""
	for i := range many {
		c.Must("2", "RSET")
		c.Must("2", "RSET")
		envelope(c, goodSender, "alice@mx.test")
		if i%4 == 0 {
			c.Must("5", fmt.Sprintf("RCPT TO:<gone%d@mx.test>", i))
		}
		c.Must("2", "RCPT TO:<bob@mx.test>")
		subject, msg := unique()
		if r := c.Data(msg); r.Code != "250" {
			t.Fatalf("message %d: %s", i+1, r)
		}
		last = subject
		c.Must("2", "RSET")
		if i == many/2 {
			c.Must("2", "EHLO "+goodHelo)
		}
	}
	b.Delivered(t, "bob", last)
	c.Must("2", "MAIL FROM:<"+goodSender+">")
	c.Must("2", "RCPT TO:<alice@mx.test>")
	c.Must("2", "QUIT")
	// Who comes afterwards comes to a client in good standing.
	b.deliver(t, b.open(t, goodClient, goodHelo), goodSender, "alice")
	miltertest.Eventually(t, "every message is logged", func() bool {
		accepted := 0
		for _, e := range b.daemon.entries(t, mark) {
			if e["msg"] == "accept" {
				accepted++
			}
		}
		return accepted == many+1
	})
	b.wantUncounted(t, mark)
}

// testPatient has all mail greylisted, which the client takes for what it is: half of it as a simple client does, half with
// PIPELINING, where DATA is on its way before the replies are here.
func testPatient(t *testing.T, b *bench) {
	mark := b.daemon.mark()
	c := b.open(t, stranger, goodHelo)
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
	_, r := b.attempt(t, stranger, goodSender, "alice@mx.test")
	greylistedFor(t, r)
	b.wantUncounted(t, mark)
	miltertest.Eventually(t, "every delivery is logged", func() bool {
		held := 0
		for _, e := range b.daemon.entries(t, mark) {
			if e["reason"] == "greylisted" {
				held++
			}
		}
		return held == many+many/2+2
	})
}

// testOldList sends one message to many who are gone, and to more who are not.
func testOldList(t *testing.T, b *bench) {
	mark := b.daemon.mark()
	c := b.open(t, goodClient, goodHelo)
	for i := range 3 * limit {
		c.Must("2", "MAIL FROM:<"+goodSender+">")
		c.Must("2", "RCPT TO:<bob@mx.test>")
		c.Must("5", fmt.Sprintf("RCPT TO:<gone%d@mx.test>", i))
		_, msg := unique()
		if r := c.Data(msg); r.Code != "250" {
			t.Fatalf("message %d: %s", i+1, r)
		}
	}
	b.deliver(t, b.open(t, goodClient, goodHelo), goodSender, "alice")
	b.wantUncounted(t, mark)
}
