package counters_test

import (
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/counters"
)

// TestClockJumps tests that a block does not last longer because the clock is moved, and that new blocks still begin.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for name, jump := range checktest.Jumps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newSite(t, change{})
			steady := *h.now
			h.store = checktest.NewStore(func() time.Time { return steady })
			h.pipeline = h.host(change{})
			pass := func(d time.Duration) { h.wait(d); steady = steady.Add(d) }
			h.connect(someone).guess(11)
			want(t, "blocked", h.once(someone), isBlocked)
			if _, err := counters.Block(t.Context(), h.store, checks.ClientOf(h.connect(other).s.Client), *h.now, 48*time.Hour, ""); err != nil {
				t.Fatal(err)
			}
			for _, putBack := range []bool{false, true} {
				open := h.connect(someone)
				h.wait(jump)
				pass(time.Hour)
				want(t, "in an open connection", open.deliver(), "")
				want(t, "after the block", h.once(someone), "")
				if putBack {
					want(t, "blocked by hand", h.once(other), isBlocked)
				}
				if list := h.blocks(); len(list) > 0 && list[0].Since.After(*h.now) {
					t.Errorf("a block that begins in the future is listed: %+v", list)
				}
				c := h.connect(someone)
				c.guess(11)
				want(t, "a new block", h.once(someone), isBlocked)
				jump = -jump
			}
			pass(24 * time.Hour)
			want(t, "at the end", h.once(someone), "")
		})
	}
}
