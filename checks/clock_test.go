package checks_test

import (
	"testing"
	"time"

	"milterd/checks"
)

func TestClock(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	built := start.Add(-10 * day)
	for _, c := range []struct {
		name    string
		elapsed time.Duration
		now     time.Time
		want    string
	}{
		{"at the start", 0, start, ""},
		{"a day later", day, start.Add(day), ""},
		{"adjusted by NTP", day, start.Add(day + 59*time.Minute), ""},
		{"moved forward by a day", time.Hour, start.Add(day + time.Hour), "the clock of this host was moved forward by 24 h"},
		{"moved back by two hours", time.Hour, start.Add(-time.Hour), "the clock of this host was moved back by 2 h"},
		{"moved forward by ten years", 0, start.AddDate(10, 0, 0), "the clock of this host was moved forward by 3653 d"},
		{"moved and put back", 2 * day, start.Add(2 * day), ""},
		{"beyond the range of time.Duration", 0, start.AddDate(400, 0, 0), "the clock of this host was moved forward by 146097 d"},
	} {
		clock := checks.NewClock(start, built, func() time.Duration { return c.elapsed })
		if got := clock.Doubt(c.now); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	never := checks.NewClock(time.Unix(0, 0), built, func() time.Duration { return 0 })
	if got := never.Doubt(time.Unix(0, 0)); got != "the clock of this host shows a day before milterd was built" {
		t.Errorf("1970: %q", got)
	}
	if got := checks.NewClock(built, built, func() time.Duration { return 0 }).Doubt(built.Add(-time.Hour)); got != "" {
		t.Errorf("earlier on the day of the build: %q", got)
	}
	if got := (*checks.Clock)(nil).Doubt(time.Time{}); got != "" {
		t.Errorf("without a clock: %q", got)
	}
}
