package main

import (
	"testing"
	"time"
)

func TestEndFlags(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 9, 30, 0, 0, time.Local)
	day := func(month time.Month, d, hour int) time.Time {
		return time.Date(2026, month, d, hour, 0, 0, 0, time.Local)
	}
	for _, c := range []struct {
		flags endFlags
		want  time.Time // zero: an error
	}{
		{flags: endFlags{}, want: now.Add(time.Hour)},
		{flags: endFlags{length: "2d"}, want: now.AddDate(0, 0, 2)},
		{flags: endFlags{length: "1h30m"}, want: now.Add(90 * time.Minute)},
		{flags: endFlags{until: "2d"}, want: now.AddDate(0, 0, 2)},
		{flags: endFlags{until: "2026-12-04"}, want: day(12, 5, 0)},
		{flags: endFlags{until: "2026-11-29"}, want: day(11, 30, 0)},
		{flags: endFlags{until: "2026-12-04 15:00"}, want: day(12, 4, 15)},
		{flags: endFlags{until: "2026-12-04T15:00"}, want: day(12, 4, 15)},
		{flags: endFlags{until: "2026-11-28"}},
		{flags: endFlags{until: "friday"}, want: day(12, 5, 0)},
		{flags: endFlags{until: "Fri"}, want: day(12, 5, 0)},
		{flags: endFlags{until: "sunday"}, want: day(12, 7, 0)},
		{flags: endFlags{until: "soon"}},
		{flags: endFlags{until: "9999-12-30"}, want: time.Date(9999, 12, 31, 0, 0, 0, 0, time.Local)},
		{flags: endFlags{until: "9999-12-31"}},
		{flags: endFlags{length: "2026-12-04"}},
		{flags: endFlags{length: "0"}},
	} {
		got, err := c.flags.time(now, time.Hour)
		if !got.Equal(c.want) || (err != nil) != c.want.IsZero() {
			t.Errorf("%+v: %v, %v; want %v", c.flags, got, err, c.want)
		}
	}
	if got, err := (&endFlags{}).time(now, 0); err != nil || !got.IsZero() {
		t.Errorf("no end: %v, %v", got, err)
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 9, 30, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"2d": now.AddDate(0, 0, -2), "2026-11-28": time.Date(2026, 11, 28, 0, 0, 0, 0, time.Local), "soon": {},
		"today": time.Date(2026, 11, 29, 0, 0, 0, 0, time.Local), "Yesterday": time.Date(2026, 11, 28, 0, 0, 0, 0, time.Local),
	} {
		if got, err := parseSince(text, now); !got.Equal(want) || (err != nil) != want.IsZero() {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
