package msgfields_test

import (
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/msgfields"
)

// TestClockInDoubt tests that no date is refused with 5yz while the clock is in doubt.
func TestClockInDoubt(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		name   string
		moved  time.Duration // of the clock, since the start
		date   time.Duration // of the message, after the true time
		reason string        // empty: it is accepted
		unsure bool
	}{
		{"the past", 0, -50 * 365 * day, "date-past", false},
		{"the future", 0, 3 * day, "date-future", false},
		{"an hour ahead", time.Hour, 0, "", false},
		{"two days ahead", 2 * day, 0, "", false},
		{"two days ahead, a wrong date", 2 * day, -60 * day, "date-past", true},
		{"two days behind", -2 * day, 0, "date-future", true},
		{"ten years ahead", 3650 * day, 0, "date-past", true},
		{"ten years behind", -3650 * day, 0, "date-future", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checks.Env{Clock: checks.NewClock(checktest.Now, time.Time{}, func() time.Duration { return 0 })}
			m := checktest.Build[msgfields.Settings](t, msgfields.Info, env, nil)
			header := without("Received", with("Date", checktest.Now.Add(c.date).Format("Date: "+time.RFC1123Z)))
			vs, err := checktest.Ask(t, msgfields.Info, m, checktest.Session{Client: "12.0.0.1", Header: header, Time: checktest.Now.Add(c.moved)}.Request(t))
			switch {
			case err != nil:
				t.Error(err)
			case c.reason == "" && len(vs) > 0, c.reason != "" && (len(vs) != 1 || vs[0].Reason.ID != c.reason || vs[0].Unsure != c.unsure):
				t.Errorf("%+v, want %q, unsure %t", vs, c.reason, c.unsure)
			}
		})
	}
}
