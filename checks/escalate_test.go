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

// TestEscalateInDoubt: a client that met its reason two days ago gets a permanent refusal, but not by a clock that something speaks
// against. Who is new then is not noted: the time may be wrong.
func TestEscalateInDoubt(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		name string
		play func(*hand)
		code int
		note bool
	}{
		{"no mail", func(*hand) {}, 550, true},
		{"good mail", func(h *hand) { h.mail(0, times(5, 0)...) }, 550, true},
		{"one bogus date", func(h *hand) { h.mail(0, -365*day) }, 550, true},
		{"two agree on another time", func(h *hand) { h.mail(0, times(2, 31*day)...) }, 450, false},
		{"five agree on another time", func(h *hand) { h.mail(0, times(5, 31*day)...) }, 450, false},
		{"moved by minutes", func(h *hand) { h.moved = 2 * time.Minute }, 450, false},
		{"moved by days", func(h *hand) { h.moved = 2 * day }, 450, false},
		{"moved and put back", func(h *hand) { h.moved = 2 * day; h.Trust(h.now()); h.moved = 0 }, 550, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHand()
			store := checktest.NewStore(h.now)
			identity := reason("helo-mismatch")
			identity.Identity = true
			p := pipeline(t, nil, func(o *checks.Options) { o.Escalate, o.Store, o.Clock = day, store, h.Clock }, newFake("any", atConnect, identity))
			code := func(client string) int {
				talk := begin(p, client)
				talk.s.Time = h.now()
				talk.mail("a@example.net")
				if d := talk.rcpt("u@example.org"); d.Reply != nil {
					return d.Reply.Code
				}
				return 0
			}
			if got := code("192.0.2.9"); got != 450 {
				t.Fatalf("at first: %d", got)
			}
			h.true += 2 * day
			c.play(h)
			if got := code("192.0.2.9"); got != c.code {
				t.Errorf("%d, want %d; the clock is %s", got, c.code, h.Trust(h.now()))
			}
			if got := code("192.0.2.10"); got != 450 {
				t.Errorf("somebody new: %d", got)
			}
			noted := 0
			for _, err := range store.Scan(t.Context(), "escalate:") {
				if err != nil {
					t.Fatal(err)
				}
				noted++
			}
			if (noted == 2) != c.note {
				t.Errorf("%d clients are noted", noted)
			}
		})
	}
}
