package sender_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/sender"
)

// TestAgeWhenTheClockJumps tests that a wrong clock makes no domain new, or that the verdict is unsure.
func TestAgeWhenTheClockJumps(t *testing.T) {
	t.Parallel()
	for name, jump := range checktest.Jumps {
		t.Run("first seen, "+name, func(t *testing.T) {
			t.Parallel()
			jump := jump // changes below
			st := newSite(t, ageZone, nil, func(c *sender.Settings) { c.FirstSeen = day })
			st.env.Store = checktest.NewStore(nil) // a store has a clock of its own
			st.check = checktest.Build(t, sender.Info, st.env, func(c *sender.Settings) { c.FirstSeen = day })
			ask := func(what, from, want string) {
				t.Helper()
				if got := strings.Join(st.mail(t, checktest.Session{Client: "192.0.2.10", MailFrom: from}), " "); got != want {
					t.Errorf("%s: got %q, want %q", what, got, want)
				}
			}
			for range 10 {
				ask("first days", "a@old.net", "")
				st.now = st.now.Add(day)
			}
			for range 2 { // the second jump sets the clock right
				st.now = st.now.Add(jump)
				ask("known", "a@old.net", "")
				st.now = st.now.Add(2 * day)
				ask("known, two days later", "a@old.net", "")
				jump = -jump
			}
			ask("first seen with the right clock", "a@young.net", map[bool]string{true: "domain-new"}[jump.Abs() < 7*day])
			for range 10 {
				st.now = st.now.Add(day)
				ask("known, each day", "a@old.net", "")
			}
			ask("new", "a@edge.net", "domain-new")
		})
		t.Run("registered, "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := newSite(t, ageZone, new(registry), month)
				st.env.Clock = checks.NewClock(st.now, time.Time{}, func() time.Duration { return 0 })
				st.env.Store = checktest.NewStore(nil)
				st.check = checktest.Build(t, sender.Info, st.env, month)
				for _, from := range []string{"a@old.net", "a@young.net"} {
					_, _ = st.ask(t, from)
				}
				for _, now := range []time.Time{st.now.Add(jump), checktest.Now.Add(-4995 * day)} { // old.net would be new at this time
					s := checktest.Session{Client: "192.0.2.10", MailFrom: "a@old.net", Time: now}
					for _, from := range []string{"a@old.net", "a@young.net"} {
						s.MailFrom = from
						vs, err := checktest.Ask(t, sender.Info, st.check, s.Request(t))
						if err != nil || len(vs) > 0 && !vs[0].Unsure {
							t.Errorf("%s at %s: %+v, %v", from, now, vs, err)
						}
					}
				}
			})
		})
	}
}
