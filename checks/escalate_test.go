package checks_test

import (
	"errors"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

func TestEscalate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	store := checktest.NewStore(func() time.Time { return now })
	passed := time.Duration(0) // by the clock that never jumps
	pass := func(d time.Duration) { now, passed = now.Add(d), passed+d }
	identity := reason("helo-mismatch")
	identity.Identity = true
	helo := newFake("any", atConnect, identity)
	build := func(after time.Duration, f *fake) *checks.Pipeline {
		t.Helper()
		clock := checks.NewClock(now.Add(-passed), time.Time{}, func() time.Duration { return passed })
		return pipeline(t, nil, func(o *checks.Options) { o.Escalate, o.Store, o.Clock = after, store, clock }, f)
	}
	code := func(p *checks.Pipeline, client string) int {
		t.Helper()
		talk := begin(p, client)
		talk.s.Time = now
		talk.mail("a@example.net")
		d := talk.rcpt("u@example.org")
		if d.Reply == nil {
			return 0
		}
		if (d.Reply.Code < 500) != (d.Action == checks.Tempfail) || d.Reply.Enhanced[0] != byte('0'+d.Reply.Code/100) {
			t.Errorf("reply %v at action %v", d.Reply, d.Action)
		}
		return d.Reply.Code
	}
	p := build(24*time.Hour, helo)
	want := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	want("first", code(p, "192.0.2.9"), 450)
	pass(23 * time.Hour)
	want("a day, nearly", code(p, "192.0.2.9"), 450)
	want("another client", code(p, "192.0.2.10"), 450)
	want("IPv6", code(p, "2001:db8::1"), 450)
	pass(time.Hour)
	want("a day", code(p, "192.0.2.9"), 550)
	want("the other client", code(p, "192.0.2.10"), 450)
	pass(5 * 24 * time.Hour)
	want("days later", code(p, "192.0.2.9"), 550)
	want("a neighbour in the /64", code(p, "2001:db8::2"), 550)
	now = now.Add(365 * 24 * time.Hour)
	want("the clock jumps ahead", code(p, "192.0.2.10"), 450)
	want("someone new, then", code(p, "192.0.2.11"), 450)
	now = now.Add(-365 * 24 * time.Hour)
	want("and back", code(p, "192.0.2.11"), 450)
	pass(23 * time.Hour)
	want("nearly a day from then", code(p, "192.0.2.11"), 450)
	pass(time.Hour)
	want("a day from then", code(p, "192.0.2.11"), 550)
	want("off", code(build(0, helo), "192.0.2.77"), 550)

	denied := newFake("access", atConnect, reason("helo-denied"))
	want("a refusal by the operator's list", code(build(24*time.Hour, denied), "192.0.2.9"), 550)

	store.Fail(errors.New("down"))
	want("the store is down", code(p, "192.0.2.9"), 450)
}

// TestEscalateInDoubt: a client that met its reason two days ago is refused permanently, unless the clock is in doubt. No client
// is recorded while it is.
func TestEscalateInDoubt(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		name     string
		moved    time.Duration // the clock, after two days
		code     int
		recorded int // clients, in the end
	}{
		{"right", 0, 550, 2},
		{"moved by minutes", 2 * time.Minute, 550, 2},
		{"moved by days", 2 * day, 450, 1},
		{"moved back", -day, 450, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
			var elapsed, moved time.Duration
			now := func() time.Time { return start.Add(elapsed + moved) }
			store := checktest.NewStore(now)
			identity := reason("helo-mismatch")
			identity.Identity = true
			clock := checks.NewClock(start, time.Time{}, func() time.Duration { return elapsed })
			p := pipeline(t, nil, func(o *checks.Options) { o.Escalate, o.Store, o.Clock = day, store, clock }, newFake("any", atConnect, identity))
			code := func(client string) int {
				talk := begin(p, client)
				talk.s.Time = now()
				talk.mail("a@example.net")
				if d := talk.rcpt("u@example.org"); d.Reply != nil {
					return d.Reply.Code
				}
				return 0
			}
			if got := code("192.0.2.9"); got != 450 {
				t.Fatalf("at first: %d", got)
			}
			elapsed, moved = 2*day, c.moved
			if got := code("192.0.2.9"); got != c.code {
				t.Errorf("%d, want %d", got, c.code)
			}
			if got := code("192.0.2.10"); got != 450 {
				t.Errorf("a new client: %d", got)
			}
			recorded := 0
			for _, err := range store.Scan(t.Context(), "escalate:") {
				if err != nil {
					t.Fatal(err)
				}
				recorded++
			}
			if recorded != c.recorded {
				t.Errorf("%d clients are recorded, want %d", recorded, c.recorded)
			}
		})
	}
}
