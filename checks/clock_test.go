package checks_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/checktest"
)

// hand is a host: a clock that can be moved, and the time that passes.
type hand struct {
	*checks.Clock
	true, moved time.Duration
	logged      *logtest.Hook
}

func newHand() *hand {
	log, hook := logtest.NewNullLogger()
	h := &hand{logged: hook}
	h.Clock = checks.NewClock(h.now(), func() time.Duration { return h.true }, logrus.NewEntry(log))
	return h
}

func (h *hand) now() time.Time { return checktest.Now.Add(h.true + h.moved) }

// mail has networks vote, from number first on: their dates are off by what they are told, in truth.
func (h *hand) mail(first int, off ...time.Duration) {
	for i, d := range off {
		h.true += time.Minute
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(first + i), 0, 0}), 24)
		h.Vote(network, checktest.Now.Add(h.true+d), h.now())
	}
}

func times(n int, d time.Duration) []time.Duration {
	list := make([]time.Duration, n)
	for i := range list {
		list[i] = d
	}
	return list
}

func TestClock(t *testing.T) {
	t.Parallel()
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	for _, c := range []struct {
		name string
		play func(*hand)
		want checks.Trust
		why  string
	}{
		{"no mail", func(*hand) {}, checks.Unconfirmed, ""},
		{"a bogus date", func(h *hand) { h.mail(0, -50*year) }, checks.Unconfirmed, ""},
		{"one who sends bogus dates", func(h *hand) {
			for range 50 {
				h.mail(0, -50*year)
			}
		}, checks.Unconfirmed, ""},
		{"bogus dates of many, each another", func(h *hand) {
			h.mail(0, -50*year, -40*year, -30*year, -20*year, day, 2*day, 3*day, 300*day)
		}, checks.Unconfirmed, ""},
		{"five good ones", func(h *hand) { h.mail(0, times(5, 0)...) }, checks.Confirmed, ""},
		{"five that were greylisted", func(h *hand) { h.mail(0, times(5, -50*time.Minute)...) }, checks.Confirmed, ""},
		{"five good ones, then bogus ones", func(h *hand) {
			h.mail(0, append(times(5, 0), -50*year, -40*year, -30*year, -20*year, day, 2*day)...)
		}, checks.Confirmed, ""},
		{"two agree on another time", func(h *hand) { h.mail(0, 31*day, 31*day) }, checks.Doubted, "the mail of 2 networks is dated 31 days after the clock of this host"},
		{"three good ones, two agree on another time", func(h *hand) { h.mail(0, 0, 0, 0, 31*day, 31*day) }, checks.Unconfirmed, ""},
		{"wrong at the start", func(h *hand) { h.mail(0, times(5, 10*year)...) }, checks.Disproved, "the mail of 5 networks is dated 3650 days after"},
		{"a flood of equal bogus dates", func(h *hand) { h.mail(0, append(times(5, 0), times(6, -50*year)...)...) }, checks.Disproved, "18250 days before"},
		{"after such a flood", func(h *hand) { h.mail(0, append(times(6, -50*year), times(7, 0)...)...) }, checks.Confirmed, ""},
		{"NTP at work", func(h *hand) { h.moved = 50 * time.Second }, checks.Unconfirmed, ""},
		{"moved without mail", func(h *hand) { h.moved = 2 * time.Minute }, checks.Doubted, "the clock of this host was moved, it is 2 minutes after where it would be"},
		{"moved back without mail", func(h *hand) { h.moved = -10 * year }, checks.Doubted, "3650 days before where"},
		{"moved and put back", func(h *hand) { h.moved = year; h.mail(0, 0); h.moved = 0 }, checks.Unconfirmed, ""},
		{"moved after good mail", func(h *hand) { h.mail(0, times(20, 0)...); h.moved = day }, checks.Disproved, "24 hours before"},
		{"moved after little mail", func(h *hand) { h.mail(0, times(4, 0)...); h.moved = day }, checks.Doubted, ""},
		{"moved and put back after good mail", func(h *hand) {
			h.mail(0, times(20, 0)...)
			h.moved = -10 * year
			h.mail(20, times(20, 0)...)
			h.moved = 0
		}, checks.Confirmed, ""},
		{"wrong at the start, then set", func(h *hand) { h.mail(0, times(20, 10*year)...); h.moved = 10 * year }, checks.Confirmed, ""},
		{"never set", func(h *hand) {
			h.Clock = checks.NewClock(time.Unix(0, 0), func() time.Duration { return h.true }, nil)
			h.moved = time.Unix(0, 0).Sub(checktest.Now)
		}, checks.Doubted, "the clock of this host was never set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHand()
			c.play(h)
			if got := h.Trust(h.now()); got != c.want {
				t.Errorf("%s, want %s: %+v", got, c.want, h.State())
			}
			if why := h.State().Why; !strings.Contains(why, c.why) || c.why == "" && why != "" && c.want != checks.Doubted {
				t.Errorf("why is %q, want %q", why, c.why)
			}
		})
	}
}

// TestClockTells: of a wrong clock the operator is told, but not at each message.
func TestClockTells(t *testing.T) {
	t.Parallel()
	h := newHand()
	h.mail(0, times(9, 10*24*time.Hour)...)
	if n := len(h.logged.AllEntries()); n != 1 {
		t.Errorf("%d lines", n)
	}
	h.mail(9, times(30, 10*24*time.Hour)...)
	if n := len(h.logged.AllEntries()); n != 4 {
		t.Errorf("%d lines in half an hour more", n)
	}
	if e := h.logged.LastEntry(); e.Level != logrus.ErrorLevel || !strings.Contains(e.Message, "dated 10 days after the clock of this host") {
		t.Errorf("%s %q", e.Level, e.Message)
	}
}

// TestGivenClock: where there is none, the time is given.
func TestGivenClock(t *testing.T) {
	t.Parallel()
	var c *checks.Clock
	c.Vote(netip.MustParsePrefix("192.0.2.0/24"), checktest.Now, time.Time{})
	if got := c.Trust(time.Time{}); got != checks.Confirmed || c.State() != (checks.ClockState{}) {
		t.Errorf("%s, %+v", got, c.State())
	}
}

// TestUnsureReason: what a check is not sure of is refused for now only, after what others are sure of.
func TestUnsureReason(t *testing.T) {
	t.Parallel()
	both := newFake("both", atConnect, reason("a"), reason("b"))
	for _, c := range []struct {
		name   string
		unsure []bool
		a, b   checks.Action
		want   string
	}{
		{"sure", []bool{false, false}, checks.Reject, checks.Reject, "a 550 5.7.1"},
		{"unsure", []bool{true}, checks.Reject, checks.Reject, "a 450 4.7.1"},
		{"another is sure", []bool{true, false}, checks.Reject, checks.Reject, "b 550 5.7.1"},
		{"tempfail", []bool{true, true}, checks.Tempfail, checks.Reject, "a 450 4.7.1"},
		{"watched", []bool{true}, checks.Watch, checks.Reject, ""},
	} {
		both.say = func(context.Context, *checks.Session) (vs []checks.Verdict, _ error) {
			for i, u := range c.unsure {
				vs = append(vs, checks.Verdict{Reason: both.info.Reasons[i], Unsure: u})
			}
			return vs, nil
		}
		talk := begin(pipeline(t, map[string]checks.Action{"a": c.a, "b": c.b}, nil, both), "192.0.2.9")
		talk.mail("a@example.net")
		got := ""
		if d := talk.rcpt("u@example.org"); d.Reply != nil {
			got = fmt.Sprintf("%s %d %s", d.Reason.ID, d.Reply.Code, d.Reply.Enhanced)
			if sure := d.Reply.Code == 550; sure != (d.Action == checks.Reject) {
				t.Errorf("%s: the action is %s", c.name, d.Action)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
