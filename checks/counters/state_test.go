package counters_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/counters"
)

// TestBlockStates tests what a block does in each state that the package comment names, to the connection that passed the limit and
// to the next one. The limit of unknown recipients is watched for watcher@example.org.
func TestBlockStates(t *testing.T) {
	t.Parallel()
	watcher := func(o *checks.Options) {
		set, err := checks.ParseRecipients([]string{"watcher"})
		if err != nil {
			t.Fatal(err)
		}
		lenient := checks.Policy{Recipients: set, Actions: map[string]checks.Action{}}
		for id, a := range o.Actions {
			lenient.Actions[id] = a
		}
		lenient.Actions[badRecipients] = checks.Watch
		o.Policies = []checks.Policy{lenient}
	}
	type rcpt struct{ local, want string }
	for _, test := range []struct {
		name    string
		actions map[string]checks.Action
		drive   func(h *site, c *client)
		own     []rcpt // recipients of the connection that passed the limit
		next    []rcpt // and then of the next connection
		levels  int    // of the client at the end
	}{
		{name: "none", own: []rcpt{{"user", ""}}, next: []rcpt{{"user", ""}}},
		{name: "pending for its own connection", drive: guesses,
			own: []rcpt{{"watcher", ""}, {"user", badRecipients}, {"watcher", ""}}, next: []rcpt{{"watcher", isBlocked}}, levels: 1},
		{name: "pending for the next connection", drive: guesses,
			next: []rcpt{{"watcher", ""}, {"user", isBlocked}, {"watcher", isBlocked}}, levels: 1},
		{name: "pending, and client-blocked is watched", actions: map[string]checks.Action{isBlocked: checks.Watch}, drive: guesses,
			next: []rcpt{{"user", ""}}},
		{name: "pending for two limits", drive: func(h *site, c *client) { c.giveUp(11); guesses(h, c) },
			own: []rcpt{{"watcher", resets}, {"user", resets}}, next: []rcpt{{"user", isBlocked}}, levels: 1},
		{name: "pending, and ended", drive: func(h *site, c *client) { guesses(h, c); h.wait(time.Hour) },
			own: []rcpt{{"user", ""}}, next: []rcpt{{"user", ""}}},
		{name: "in force, by another connection that passed the same limit", drive: func(h *site, c *client) {
			guesses(h, c)
			want(h.t, "the other", h.once(someone), isBlocked)
		}, own: []rcpt{{"user", badRecipients}, {"watcher", ""}}, next: []rcpt{{"watcher", isBlocked}}, levels: 1},
		{name: "in force, by the operator for the client", drive: byOperator(someone + "/32"),
			own: []rcpt{{"user", ""}}, next: []rcpt{{"watcher", isBlocked}}},
		{name: "in force, by the operator for a network", drive: byOperator("192.0.2.0/24"),
			own: []rcpt{{"user", ""}}, next: []rcpt{{"watcher", isBlocked}}},
		{name: "pending, in a network in force", drive: func(h *site, c *client) { byOperator("192.0.2.0/24")(h, c); guesses(h, c) },
			next: []rcpt{{"watcher", ""}, {"user", isBlocked}}, levels: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newSite(t, change{actions: test.actions, options: watcher})
			c := h.connect(someone)
			c.deliver() // so that the connection has read the block
			if test.drive != nil {
				test.drive(h, c)
			}
			for _, r := range test.own {
				c.mail()
				want(t, r.local+" in the connection", c.rcpt(r.local), r.want)
			}
			c.quit()
			c = h.connect(someone)
			c.mail()
			for _, r := range test.next {
				want(t, r.local+" in the next connection", c.rcpt(r.local), r.want)
			}
			if level := h.level(someone); level != test.levels {
				t.Errorf("level %d, want %d", level, test.levels)
			}
		})
	}
}

// guesses passes the limit of unknown recipients.
func guesses(_ *site, c *client) { c.guess(12) }

// byOperator blocks a client or a network for an hour.
func byOperator(network string) func(*site, *client) {
	return func(h *site, _ *client) {
		if _, err := counters.Block(h.t.Context(), h.store, netip.MustParsePrefix(network), *h.now, time.Hour, ""); err != nil {
			h.t.Fatal(err)
		}
	}
}

// TestBlocksOfAGoodSender tests which blocks hold for the mail of one domain from a good sender.
func TestBlocksOfAGoodSender(t *testing.T) {
	t.Parallel()
	const zone = "9.2.0.192.in-addr.arpa. PTR out.relay.example.\nout.relay.example. A 192.0.2.9\n"
	for _, test := range []struct {
		name  string
		block func(h *site)
		want  string
	}{
		{"none", func(*site) {}, ""},
		{"its own", func(h *site) { guessAs(h, "eve@example.com") }, isBlocked},
		{"that of another domain", func(h *site) { guessAs(h, "eve@example.net") }, ""},
		{"that of the client for a limit", func(h *site) { h.pipeline = h.host(change{zone: zone}); guessAs(h, "eve@example.com") }, ""},
		{"that of the client by the operator", func(h *site) { byOperator(someone+"/32")(h, nil) }, isBlocked},
		{"that of a network by the operator", func(h *site) { byOperator("192.0.2.0/24")(h, nil) }, isBlocked},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			good := change{zone: zone, senders: goodSenders("relay.example")}
			h := newSite(t, good)
			test.block(h)
			h.pipeline = h.host(good)
			c := h.connect(someone)
			c.s.ClientName = "out.relay.example"
			c.from("alice@example.com", 0)
			want(t, "the mail of example.com", c.rcpt("user"), test.want)
		})
	}
}

// guessAs passes the limit of unknown recipients in a connection, and is refused for it.
func guessAs(h *site, sender string) {
	c := h.connect(someone)
	c.s.ClientName = "out.relay.example"
	c.from(sender, 12)
	want(h.t, "the limit", c.rcpt("user"), badRecipients)
	c.quit()
}

// TestUnblockedWhilePending tests that a block that the operator ended does not come back by the next refusal in an open connection.
func TestUnblockedWhilePending(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	c := h.connect(someone)
	c.guess(11)
	if ok, err := counters.Unblock(t.Context(), h.store, netip.MustParsePrefix(someone+"/32"), "", *h.now); !ok || err != nil {
		t.Fatalf("unblock: %v, %v", ok, err)
	}
	want(t, "the open connection", c.deliver(), badRecipients)
	want(t, "the next connection", h.once(someone), "")
	if list := h.blocks(); h.level(someone) != 0 || len(list) > 0 {
		t.Errorf("level %d, blocks %+v", h.level(someone), list)
	}
}

// TestKnownRecipientsOutweighOnce tests that recipients to whom nothing is delivered outweigh the guesses of their transaction alone.
func TestKnownRecipientsOutweighOnce(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	for i, after := range []string{"", tooManyErrors} {
		c := h.connect(someone)
		c.mail()
		for n := range 30 {
			want(t, "a known recipient", c.rcpt(fmt.Sprint("user", n)), "")
		}
		for n := range 25 {
			c.refused(fmt.Sprint("guess", n), "5.1.1")
		}
		want(t, fmt.Sprint("connection ", i), c.rcpt("user"), after)
		c.quit()
	}
	want(t, "the next", h.once(someone), isBlocked)
}

// TestOpenTransactionOutweighs tests how many guesses the accepted recipients of their transaction outweigh.
func TestOpenTransactionOutweighs(t *testing.T) {
	t.Parallel()
	noBadRecipients := change{settings: func(s *counters.Settings) { s.BadRecipients = 0 }}
	for _, test := range []struct {
		name    string
		known   int
		form    string
		guesses int
		want    string
	}{
		{"as many users", 40, "user%d", 40, ""},
		{"fewer users", 40, "user%d", 41, tooManyErrors},
		{"one user with many details", 40, "user+%d", 40, ""},
		{"100 of many users", 150, "user%d", 100, ""},
		{"over 100 of many users", 150, "user%d", 101, tooManyErrors},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newSite(t, noBadRecipients).connect(someone)
			c.mail()
			for i := range test.known {
				c.rcpt(fmt.Sprintf(test.form, i))
			}
			for i := range test.guesses {
				c.refused(fmt.Sprint("guess", i), "5.1.1")
			}
			want(t, "the next recipient", c.rcpt("user0"), test.want)
		})
	}
}

// TestManyDeliveries tests that deliveries beyond those that a tally can hold do not make them few.
func TestManyDeliveries(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	const most = 1<<21 - 1<<16 // see counters.maxDeliveries
	if _, err := h.store.Add(t.Context(), "counters:tally:"+someone+"/32", (most-20)<<21, time.Hour); err != nil {
		t.Fatal(err)
	}
	c := h.connect(someone)
	c.fail(10)
	c.mail()
	for i := range 50 {
		c.rcpt(fmt.Sprint("user", i))
	}
	for range 1400 { // over 1<<16 deliveries
		c.observe(checks.Event{Kind: checks.Accepted})
	}
	if errors, deliveries := h.counted(someone); errors != 10 || deliveries != most {
		t.Errorf("%d errors, %d deliveries, want 10 and %d", errors, deliveries, most)
	}
	c.fail(45)
	want(t, "after 45 errors that no delivery forgave", c.deliver(), "")
}
