package msgfields_test

import (
	"fmt"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/msgfields"
)

// TestClock: what is refused for a date is refused as far as the clock is to be believed.
func TestClock(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	date := func(off time.Duration) string { return checktest.Now.Add(off).Format("Date: " + time.RFC1123Z) }
	received := func(off time.Duration) string {
		return checktest.Now.Add(off).Format("Received: from a by b (x; y); " + time.RFC1123Z)
	}
	for _, c := range []struct {
		name   string
		votes  int           // clients that sent mail before, in truth now
		moved  time.Duration // our clock, after that
		date   time.Duration // of the message, in truth
		relay  time.Duration // Received field of it, likewise
		reason string        // empty: it is let in
		unsure bool
	}{
		{"1970 at the start", 0, 0, -50 * 365 * day, 0, "date-past", false},
		{"the future at the start", 0, 0, 3 * day, 0, "date-future", false},
		{"a server before us had it then", 0, 0, 3 * day, 3*day + time.Minute, "date-future", true},
		{"a server before us had it then, but the clock is confirmed", 5, 0, 3 * day, 3*day + time.Minute, "date-future", false},
		{"an hour ahead", 5, time.Hour, 0, 0, "", false},
		{"a day ahead", 5, day, 0, 0, "", false},
		{"a day ahead, a bogus date", 5, day, -60 * day, 0, "", false},
		{"a day ahead, little mail", 1, day, -60 * day, 0, "date-past", true},
		{"a day behind", 5, -day - time.Hour, 0, 0, "", false},
		{"a day behind, little mail", 1, -day - time.Hour, time.Hour, 0, "date-future", true},
		{"ten years ahead", 5, 3650 * day, 0, 0, "", false},
		{"ten years ahead, no mail", 0, 3650 * day, 0, 0, "date-past", true},
		{"ten years behind", 5, -3650 * day, 0, 0, "", false},
		{"ten years behind, no mail", 0, -3650 * day, 0, 0, "date-future", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checks.Env{Clock: checks.NewClock(checktest.Now, func() time.Duration { return 0 }, checktest.Env(t, "").Log)}
			env.Clock.Trust(checktest.Now)
			m := checktest.Build[msgfields.Settings](t, msgfields.Info, env, nil)
			for i := range c.votes {
				s := checktest.Session{Client: fmt.Sprintf("11.%d.0.1", i), Header: with("Date", date(0))}.Session(t)
				if vs, err := checktest.Ask(t, msgfields.Info, m, s); err != nil || len(vs) != 0 {
					t.Fatalf("%v, %v", checktest.IDs(vs), err)
				}
			}
			s := checktest.Session{Client: "12.0.0.1", Header: with("Date", date(c.date)), Time: checktest.Now.Add(c.moved)}.Session(t)
			if c.relay != 0 {
				s.Envelope.Header = append(parse(received(c.relay)), s.Envelope.Header...)
			}
			vs, err := checktest.Ask(t, msgfields.Info, m, s)
			switch {
			case err != nil:
				t.Error(err)
			case c.reason == "" && len(vs) > 0, c.reason != "" && (len(vs) != 1 || vs[0].Reason.ID != c.reason || vs[0].Unsure != c.unsure):
				t.Errorf("%+v, want %q, unsure %t; %+v", vs, c.reason, c.unsure, env.Clock.State())
			}
			if list := m.(checks.Reporter).Report(); len(list) != 1 || list[0].State == "" || (list[0].Why != "") != (c.moved != 0 && !(c.moved == time.Hour)) {
				t.Errorf("%+v", list)
			}
		})
	}
}
