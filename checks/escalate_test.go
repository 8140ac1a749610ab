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
	build := func(after time.Duration, actions map[string]checks.Action, fakes ...*fake) *checks.Pipeline {
		t.Helper()
		var list []checks.Instance
		for _, f := range fakes {
			list = append(list, checks.Instance{Info: f.info, Check: f})
		}
		p, err := checks.New(list, checks.Options{
			Actions: actions, ReplyAt: checks.RcptTo, Budget: time.Second, Escalate: after, Store: store,
			Clock: checks.NewClock(now.Add(-passed), func() time.Duration { return passed }, nil),
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	code := func(p *checks.Pipeline, client string) int {
		t.Helper()
		s := &checks.Session{ID: "t", Time: now}
		talk := begin(p, client)
		talk.s.Time = s.Time
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
	reject := map[string]checks.Action{"helo-mismatch": checks.Reject}
	p := build(24*time.Hour, reject, helo)
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
	want("off", code(build(0, reject, helo), "192.0.2.77"), 550)

	denied := newFake("access", atConnect, reason("helo-denied"))
	want("the operator's own word", code(build(24*time.Hour, map[string]checks.Action{"helo-denied": checks.Reject}, denied), "192.0.2.9"), 550)

	store.Fail(errors.New("down"))
	want("the store is down", code(p, "192.0.2.9"), 450)
}
