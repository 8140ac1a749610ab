package counters_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/counters"
)

// TestLimits makes violations in one connection, then delivers a message in it, and one in a second connection.
func TestLimits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change change
		drive  func(c *client)
		first  string // reason that refuses the message in the same connection
		second string // reason that refuses the message in the next one
	}{
		{name: "no violations"},
		{name: "ten transactions given up", drive: func(c *client) { c.giveUp(10) }},
		{name: "eleven transactions given up", drive: func(c *client) { c.giveUp(11) }, first: resets, second: isBlocked},
		{name: "a delivery takes a reset off", drive: func(c *client) { c.giveUp(10); c.deliver(); c.giveUp(1) }},
		{name: "a delivery takes one reset off", drive: func(c *client) { c.giveUp(10); c.deliver(); c.giveUp(2) }, first: resets, second: isBlocked},
		{name: "a delivery before takes nothing off", drive: func(c *client) { c.deliver(); c.giveUp(11) }, first: resets, second: isBlocked},
		{name: "resets of transactions without a recipient", drive: func(c *client) {
			for range 40 {
				c.mail()
				c.rset()
			}
		}},
		{name: "forty greylisted messages, a RSET after each", drive: func(c *client) {
			for range 40 {
				c.mail()
				c.rcpt("deferred")
				c.rset()
			}
		}},
		{name: "forty good messages, a RSET after each", drive: func(c *client) {
			for range 40 {
				c.deliver()
				c.rset()
			}
		}},
		{name: "forty messages, one recipient greylisted, one delivered", drive: func(c *client) {
			for range 40 {
				c.mail()
				c.rcpt("deferred")
				c.rcpt("user")
				c.data("hello")
			}
		}},
		{name: "resets are off", change: change{settings: func(s *counters.Settings) { s.Resets = 0 }}, drive: func(c *client) { c.giveUp(100) }},

		{name: "ten guesses", drive: func(c *client) { c.guess(10) }},
		{name: "eleven guesses", drive: func(c *client) { c.guess(11) }, first: badRecipients, second: isBlocked},
		{name: "eleven guesses in one transaction", drive: func(c *client) {
			c.mail()
			for range 11 {
				c.refused("guess", "5.1.1")
			}
		}, first: badRecipients, second: isBlocked},
		{name: "guesses and one known address, repeated", drive: func(c *client) {
			c.mail()
			for range 11 {
				c.rcpt("user")
				c.refused("guess", "5.1.1")
			}
		}, first: badRecipients, second: isBlocked},
		{name: "guesses and one known address, given up each time", change: change{settings: func(s *counters.Settings) { s.Resets = 0 }}, drive: func(c *client) {
			for range 11 {
				c.mail()
				c.rcpt("user")
				c.refused("guess", "5.1.1")
				c.rset()
			}
		}, first: badRecipients, second: isBlocked},
		{name: "a delivery takes a guess off", drive: func(c *client) { c.guess(10); c.deliver(); c.guess(1) }},
		{name: "relay refusals do not count", drive: func(c *client) {
			for range 100 {
				c.mail()
				c.refused("elsewhere", "5.7.1")
			}
		}},
		{name: "refusals at RCPT because of the sender do not count", drive: func(c *client) {
			for range 100 {
				c.mail()
				c.refused("user", "5.1.8")
				c.refused("user", "5.1.7")
				c.refused("user", "5.1.0")
			}
		}},
		{name: "a recipient with a null MX", drive: func(c *client) {
			for range 11 {
				c.mail()
				c.refused("gone", "5.1.10")
			}
		}, first: badRecipients, second: isBlocked},
		{name: "4.1.1 of the MTA does not count", drive: func(c *client) {
			for range 100 {
				c.mail()
				c.refused("later", "4.1.1")
			}
		}},
		{name: "an old list in one message: 30 of 130 unknown", drive: func(c *client) { c.mail(); c.oldList(130, false); c.data("news") }},
		{name: "an old list in one message: 60 of 260 unknown", drive: func(c *client) { c.mail(); c.oldList(260, false); c.data("news") }},
		{name: "an old list in ten messages to 26 recipients", drive: func(c *client) {
			for range 10 {
				c.mail()
				c.oldList(26, false)
				want(c.t, "the message", c.data("news"), "")
			}
		}},
		{name: "an old list in messages to 26 recipients, without the last", drive: func(c *client) {
			for range 6 {
				c.mail()
				c.oldList(26, false)
				want(c.t, "the message", c.data("news"), "")
			}
			c.mail()
			c.oldList(26, false)
		}},
		{name: "messages to several recipients, all refused", drive: func(c *client) {
			for range 36 {
				c.mail()
				c.rcpt("user1")
				c.rcpt("user2")
				c.data("spam")
			}
		}, first: tooManyErrors, second: isBlocked},
		{name: "an old list, one message for each recipient", drive: func(c *client) { c.oldList(130, true) }},
		{name: "an old list whose message is refused", drive: func(c *client) { c.mail(); c.oldList(60, false); c.data("spam"); c.guess(10) }},
		{name: "bad recipients are off", change: change{settings: func(s *counters.Settings) { s.BadRecipients = 0 }},
			drive: func(c *client) { c.guess(35) }},

		{name: "35 refusals", drive: func(c *client) { c.fail(35) }},
		{name: "36 refusals", drive: func(c *client) { c.fail(36) }, first: tooManyErrors, second: isBlocked},
		{name: "36 refusals of messages", drive: func(c *client) {
			for range 36 {
				c.mail()
				c.rcpt("user")
				c.data("spam")
			}
		}, first: tooManyErrors, second: isBlocked},
		{name: "30 refusals and 6 guesses", drive: func(c *client) { c.fail(30); c.guess(6) }, first: tooManyErrors, second: isBlocked},
		{name: "a delivery takes an error off", drive: func(c *client) { c.fail(35); c.deliver(); c.fail(1) }},
		{name: "a delivery takes one error off", drive: func(c *client) { c.fail(35); c.deliver(); c.fail(2) }, first: tooManyErrors, second: isBlocked},
		{name: "a delivery before takes nothing off", drive: func(c *client) { c.deliver(); c.fail(36) }, first: tooManyErrors, second: isBlocked},
		{name: "not more errors than deliveries", drive: func(c *client) {
			for range 40 {
				c.deliver()
			}
			c.fail(40)
		}},
		{name: "more errors than deliveries", drive: func(c *client) {
			for range 40 {
				c.deliver()
			}
			c.fail(41)
		}, first: tooManyErrors, second: isBlocked},
		{name: "a message to 60 recipients and 50 errors", drive: func(c *client) { c.deliverTo(60); c.fail(50) }},
		{name: "a message to 60 recipients and 51 errors", drive: func(c *client) { c.deliverTo(60); c.fail(51) },
			first: tooManyErrors, second: isBlocked},
		{name: "greylisting never counts", drive: func(c *client) {
			for range 100 {
				c.mail()
				c.rcpt("deferred")
			}
		}},
		{name: "a tempfail never counts", change: change{actions: map[string]checks.Action{"bad": checks.Tempfail}}, drive: func(c *client) { c.fail(100) }},
		{name: "watching never counts", drive: func(c *client) {
			for range 100 {
				c.mail()
				c.rcpt("watched")
			}
		}},
		{name: "errors are off", change: change{settings: func(s *counters.Settings) { s.Errors = 0 }}, drive: func(c *client) { c.fail(100) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newSite(t, test.change)
			c := h.connect(someone)
			if test.drive != nil {
				test.drive(c)
			}
			want(t, "the connection", c.deliver(), test.first)
			want(t, "and again", c.deliver(), test.first)
			c.quit()
			want(t, "the next", h.once(someone), test.second)
			want(t, "another client", h.once(other), "")
			if h.log.Len() > 0 {
				t.Error(h.log)
			}
		})
	}
}

// oldList sends to n recipients, of which three in thirteen are unknown, in one transaction or in one each.
func (c *client) oldList(n int, apart bool) {
	for i := range n {
		if apart {
			c.mail()
		}
		gone := i%13 == 4 || i%13 == 5 || i%13 == 9
		if gone {
			c.refused(fmt.Sprint("gone", i), "5.1.1")
		} else {
			want(c.t, "a known recipient", c.rcpt(fmt.Sprint("user", i)), "")
		}
		switch {
		case apart && gone:
			c.rset()
		case apart:
			want(c.t, "its message", c.data("news"), "")
		}
	}
}

// TestUnnamedForwarder tests that a host which forwards much good mail may forward bursts of spam. The configuration does not
// name it as a forwarder.
func TestUnnamedForwarder(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	good, refused := 0, 0
	for hour := range 72 {
		for range 20 {
			c := h.connect(someone)
			for range 3 {
				want(t, fmt.Sprint("hour ", hour), c.deliver(), "")
				good++
			}
			c.quit()
		}
		if hour%8 == 3 { // a burst, each message in a connection of its own
			for range 45 {
				c := h.connect(someone)
				c.mail()
				want(t, "recipient", c.rcpt("user"), "")
				want(t, "spam", c.data("spam"), "spam")
				c.quit()
				refused++
			}
		}
		h.wait(time.Hour)
	}
	t.Logf("%d good, %d refused", good, refused)
}

// TestNamedForwarder tests that refusals of forwarded mail do not count, and that a block does not stop forwarded mail.
func TestNamedForwarder(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{options: func(o *checks.Options) {
		users, err := checks.ParseRecipients([]string{"bad", "fwd"})
		if err != nil {
			t.Fatal(err)
		}
		o.Policies = []checks.Policy{{
			Recipients: users, Actions: o.Actions,
			Forwarders: checks.Forwarders{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}},
		}}
	}})
	c := h.connect("203.0.113.9")
	c.fail(50)
	want(t, "after refusals of forwarded mail", c.deliver(), "")
	h.connect(someone).fail(50)
	c = h.connect(someone)
	c.mail()
	want(t, "another client", c.rcpt("fwd"), "client-blocked")
	c = h.connect("203.0.113.9")
	c.guess(20)
	want(t, "its own guesses", c.rcpt("user"), "too-many-bad-recipients")
	c.mail()
	want(t, "forwarded mail during the block", c.rcpt("fwd"), "")
}

// TestErrorsAcrossConnections has one error in each connection, so that no connection is refused for the limit itself.
func TestErrorsAcrossConnections(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	for range 36 {
		c := h.connect(someone)
		c.mail()
		want(t, "spam", c.rcpt("bad"), "bad")
		c.quit()
		h.wait(time.Minute)
	}
	want(t, "the next connection", h.once(someone), isBlocked)
	want(t, "the one after it", h.once(someone), isBlocked)
}

func TestWindow(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	for range 4 {
		h.connect(someone).fail(30)
		want(t, "within the limit", h.once(someone), "")
		h.wait(24 * time.Hour)
	}
}

func TestNetworkOfAClient(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, guesser, client string
		want                  string
	}{
		{"the same IPv4 address", someone, someone, isBlocked},
		{"another IPv4 address", someone, other, ""},
		{"another address in the /64", "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", isBlocked},
		{"another /64", "2001:db8:0:1::1", "2001:db8:0:2::1", ""},
		{"an unknown client", "", "", ""},
		{"a trusted network", "198.51.100.1", "198.51.100.1", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newSite(t, change{})
			c := h.connect(test.guesser)
			c.guess(50)
			c.deliver()
			c.quit()
			want(t, "the client", h.once(test.client), test.want)
			if test.want == "" && test.client == test.guesser && len(h.blocks()) > 0 {
				t.Error(h.blocks())
			}
		})
	}
}

// TestAuthenticated tests that authenticated clients are neither counted nor blocked, whatever others do from the same address.
func TestAuthenticated(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	user := h.connect(someone)
	user.s.AuthUser = "alice"
	user.guess(100)
	user.giveUp(100)
	want(t, "the user", user.deliver(), "")
	want(t, "nothing was counted", h.once(someone), "")
	c := h.connect(someone)
	c.guess(11)
	want(t, "another client with the same address", c.deliver(), badRecipients)
	want(t, "the user, after that", user.deliver(), "")
	c.s.AuthUser = "alice"
	want(t, "a client that authenticates later", c.deliver(), "")
}

func TestPostmasterStaysReachable(t *testing.T) {
	t.Parallel()
	for _, at := range []checks.Stage{checks.RcptTo, checks.MailFrom} {
		h := newSite(t, change{options: func(o *checks.Options) { o.ReplyAt = at }})
		c := h.connect(someone)
		c.guess(11)
		want(t, "the limit", c.deliver(), badRecipients)
		for _, c := range []*client{c, h.connect(someone)} {
			c.mail()
			want(t, "postmaster", c.rcpt("postmaster"), "")
			want(t, "the message", c.data("help"), "")
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	good := counters.Info.Default.(counters.Settings)
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*counters.Settings){
		"negative":   func(s *counters.Settings) { s.Resets = -1 },
		"huge":       func(s *counters.Settings) { s.Errors = 1_000_001 },
		"no window":  func(s *counters.Settings) { s.Window = 0 },
		"no blocks":  func(s *counters.Settings) { s.Block = nil },
		"no lengths": func(s *counters.Settings) { s.Block = []time.Duration{time.Hour, 0} },
	} {
		s := good
		change(&s)
		if s.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
