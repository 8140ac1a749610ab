package greylist_test

import (
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/checks/greylist"
)

// TestClockJumps: when the clock is moved, nobody waits for longer than who comes for the first time, and who is known is known
// again when it is put back. Records expire by a clock of the store's own, as the daemon has it.
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

			for range 2 { // the second time it is put back
				w.now = w.now.Add(jump)
				// Retries as servers make them: every some minutes, for a quarter of an hour.
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
			wantHeld(t, "somebody else", w.send(p, with(func(m *mail) { m.client = "198.51.100.99" })), true)
			// What was written by the wrong clock is kept as long as anything else.
			for range 40 {
				pass(24 * time.Hour)
				wantHeld(t, "known, each day", w.send(p, known), false)
			}
			pass(36 * 24 * time.Hour)
			wantHeld(t, "known, after 36 days", w.send(p, known), true)
		})
	}
}
