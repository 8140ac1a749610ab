package counters_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/counters"
)

// TestOnlyUnknownRecipients tests a connection in which the check never runs, because the MTA accepts no recipient. The next
// connection is blocked.
func TestOnlyUnknownRecipients(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	c := h.connect(someone)
	c.guess(1000)
	c.quit()
	h.wait(59 * time.Minute)
	c = h.connect(someone)
	want(t, "the second connection", c.deliver(), isBlocked)
	want(t, "and again", c.deliver(), isBlocked)
	want(t, "the third", h.once(someone), isBlocked)
	h.wait(time.Minute)
	want(t, "an hour after the guesses", h.once(someone), "")
}

// TestLevels tests that a block ends, for open connections too, and that the next one is longer.
func TestLevels(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	for i, length := range []time.Duration{time.Hour, 4 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
		c := h.connect(someone)
		c.guess(11)
		want(t, "the limit", c.deliver(), badRecipients)
		late := h.connect(someone)
		want(t, "a second connection", late.deliver(), isBlocked)
		h.wait(length - time.Second)
		want(t, "before the end", late.deliver(), isBlocked)
		want(t, "the connection that passed it", c.deliver(), badRecipients)
		h.wait(time.Second)
		want(t, fmt.Sprintf("block %d at its end", i+1), late.deliver(), "")
		want(t, "the connection that passed it", c.deliver(), "")
		h.wait(6 * 24 * time.Hour)
	}
	h.wait(7 * 24 * time.Hour)
	h.connect(someone).guess(11)
	list := h.blocks()
	if len(list) != 1 || list[0].Level != 1 || list[0].Until.Sub(list[0].Since) != time.Hour {
		t.Errorf("after a week without blocks: %+v", list)
	}
}

func TestStartingABlockClearsTheCounts(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	c := h.connect(someone)
	c.fail(30)
	c.guess(11) // 41 errors: both limits
	want(t, "the first of the two", c.deliver(), badRecipients)
	if errors, _ := h.counted(someone); errors != 0 || h.level(someone) != 1 {
		t.Errorf("%d errors, level %d", errors, h.level(someone))
	}
	c.fail(100) // refused while blocked
	c.guess(100)
	c.giveUp(100)
	want(t, "blocked", h.once(someone), isBlocked)
	if errors, _ := h.counted(someone); errors != 0 {
		t.Errorf("%d errors while blocked", errors)
	}
	h.wait(time.Hour)
	c.guess(10)
	c.fail(25)
	want(t, "counted anew", c.deliver(), "")
}

// TestWatchedLimits tests that a watched limit refuses nothing, hides no other limit, and does not raise the level.
func TestWatchedLimits(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{actions: map[string]checks.Action{badRecipients: checks.Watch, resets: checks.Off}})
	c := h.connect(someone)
	c.giveUp(20)
	c.guess(12)
	want(t, "watched", c.deliver(), "")
	c.quit()
	want(t, "a second connection", h.once(someone), "")
	if list := h.blocks(); len(list) != 1 || list[0].InForce || list[0].Level != 1 {
		t.Errorf("blocks: %+v", list)
	}
	h.wait(30 * time.Minute)
	c = h.connect(someone)
	c.fail(36)
	want(t, "the enforced limit", c.deliver(), tooManyErrors)
	want(t, "a later connection", h.once(someone), isBlocked)
	h.wait(59 * time.Minute)
	want(t, "before the end of the hour", h.once(someone), isBlocked)
	h.wait(time.Minute)
	want(t, "at the end of the hour", h.once(someone), "")

	all := newSite(t, change{options: func(o *checks.Options) {
		for _, r := range counters.Info.Reasons[1:] {
			o.Actions[r.ID] = checks.Watch
		}
	}})
	for range 5 {
		c := all.connect(someone)
		c.guess(50)
		c.fail(50)
		c.giveUp(50)
		want(t, "all limits on watch", c.deliver(), "")
		all.wait(time.Hour)
	}
	if level := all.level(someone); level != 0 {
		t.Errorf("the level rose to %d", level)
	}
}

func TestReplies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		addr        string
		drive       func(c *client)
		limit, then string
	}{
		{someone, func(c *client) { c.giveUp(11) },
			"550 5.7.1 192.0.2.9 gave up too many mail transactions and is blocked until 2026-11-21 13:01 UTC",
			"550 5.7.1 192.0.2.9 is blocked until 2026-11-21 13:01 UTC for too many mail transactions given up"},
		{someone, func(c *client) { c.guess(11) },
			"550 5.7.1 192.0.2.9 named too many unknown recipients and is blocked until 2026-11-21 13:01 UTC",
			"550 5.7.1 192.0.2.9 is blocked until 2026-11-21 13:01 UTC for too many unknown recipients"},
		{"2001:db8::9", func(c *client) { c.fail(36) },
			"550 5.7.1 2001:db8::/64 sent too much that was refused and is blocked until 2026-11-21 13:01 UTC",
			"550 5.7.1 2001:db8::/64 is blocked until 2026-11-21 13:01 UTC for too many refused mails and recipients"},
	} {
		h := newSite(t, change{})
		h.wait(time.Second)
		c := h.connect(test.addr)
		test.drive(c)
		want(t, "the limit", c.reply(), test.limit)
		want(t, "the next connection", h.connect(test.addr).reply(), test.then)
	}
}

// TestTwoHostsAtOnce tests two hosts with one store: the limit of errors is exact, and a client gets one block however many
// connections pass limits at the same time.
func TestTwoHostsAtOnce(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	hosts := []*checks.Pipeline{h.pipeline, h.host(change{})}
	parallel := func(n int, do func(c *client)) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { do(h.connectTo(hosts[i%2], someone)) })
		}
		wg.Wait()
	}
	parallel(35, func(c *client) { c.fail(1); c.quit() })
	want(t, "35 errors", h.once(someone), "")
	parallel(2, func(c *client) { c.fail(1); c.quit() }) // the delivery takes one off
	want(t, "36 errors", h.once(someone), isBlocked)
	for _, p := range hosts {
		want(t, "both hosts", h.connectTo(p, someone).deliver(), isBlocked)
	}
	h.wait(time.Hour)
	parallel(16, func(c *client) { c.guess(20); c.fail(5); c.giveUp(12); c.deliver(); c.quit() })
	want(t, "everything at once", h.once(someone), isBlocked)
	if list := h.blocks(); len(list) != 1 || list[0].Level != 2 || list[0].Until.Sub(list[0].Since) != 4*time.Hour {
		t.Errorf("blocks: %+v", list)
	}
}
