package greylist_test

import (
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/checks/greylist"
)

// TestClockJumps tests that no delivery waits longer than a first one because the clock is moved, and that a known triplet is
// known when the clock is right again. The store expires records by a clock of its own, as in the daemon.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for name, jump := range checktest.Jumps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			w.change = func(s *greylist.Settings) { s.AutoAllow = 0 }
			steady := w.now
			w.store = checktest.NewStore(func() time.Time { return steady })
			w.env.Store = w.store
			p := w.daemon(t)
			pass := func(d time.Duration) { w.now, steady = w.now.Add(d), steady.Add(d) }
			known := with(func(m *mail) { m.from = "known@example.net" })
			wantHeld(t, "known, first", w.send(p, known), true)
			wantHeld(t, "waiting, first", w.send(p, plain()), true)
			pass(3 * time.Minute)
			wantHeld(t, "known, retry", w.send(p, known), false)

			for range 2 { // the second time the clock is moved back
				w.now = w.now.Add(jump)
				for name, m := range map[string]mail{"known": known, "waiting": plain()} {
					held := w.send(p, m)
					if reply := held.replies[0]; reply != "" && reply != text(180) {
						t.Errorf("%s: %q", name, reply)
					}
					pass(3 * time.Minute)
					wantHeld(t, name+", retry", w.send(p, m), false)
					wantHeld(t, name+", next message", w.send(p, m), false)
				}
				jump = -jump
			}
			wantHeld(t, "another client", w.send(p, with(func(m *mail) { m.client = "198.51.100.99" })), true)
			// Records that were written with the wrong clock expire as the others do.
			for range 40 {
				pass(24 * time.Hour)
				wantHeld(t, "known, each day", w.send(p, known), false)
			}
			pass(36 * 24 * time.Hour)
			wantHeld(t, "known, after 36 days", w.send(p, known), true)
		})
	}
}
