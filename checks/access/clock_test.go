package access_test

import (
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/access"
	"milterd/checks/checktest"
)

// TestClockInDoubt tests that an entry with an end refuses with 4yz at most, and still allows, while the clock is in doubt.
func TestClockInDoubt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, deny, allow string
		moved             time.Duration
		want              string
		unsure            bool
	}{
		{name: "denied, the clock is right", deny: "192.0.2.10 until=2026-11-30", want: "client-denied"},
		{name: "denied until a past date, clock ten years back", deny: "192.0.2.10 until=2026-11-01", moved: -3653 * 24 * time.Hour, want: "client-denied", unsure: true},
		{name: "denied without end, clock ten years back", deny: "192.0.2.10", moved: -3653 * 24 * time.Hour, want: "client-denied"},
		{name: "allowed, clock a day ahead", allow: "192.0.2.10 until=2026-11-21", deny: "192.0.2.0/24", moved: 24 * time.Hour, want: "perhaps"},
		{name: "allowed, clock ten years ahead", allow: "192.0.2.10 until=2026-11-30", deny: "192.0.2.0/24", moved: 3653 * 24 * time.Hour, want: "perhaps"},
		{name: "allowed without end, clock ten years ahead", allow: "192.0.2.10", moved: 3653 * 24 * time.Hour, want: "allow"},
		{name: "allowed until a past date, the clock is right", allow: "192.0.2.10 until=2026-11-01", deny: "192.0.2.0/24", want: "client-denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, zone)
			env.Clock = checks.NewClock(checktest.Now, time.Time{}, func() time.Duration { return 0 })
			check := build(t, env, c.deny, c.allow)
			vs, err := checktest.Ask(t, access.Info, check, checktest.Session{Client: "192.0.2.10", Time: checktest.Now.Add(c.moved)}.Request(t))
			if got := result(vs); err != nil || got != c.want || got == "client-denied" && vs[0].Unsure != c.unsure {
				t.Errorf("got %q, %+v, %v", got, vs, err)
			}
		})
	}
}
