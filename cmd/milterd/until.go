package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/cmd/milterd/internal/config"
)

const day = 24 * time.Hour

// weekday returns the end of the next day with that name after a time.
func weekday(text string, now time.Time) (time.Time, bool) {
	for days := 1; days <= 7; days++ {
		day := now.AddDate(0, 0, days)
		if name := day.Weekday().String(); strings.EqualFold(text, name) || strings.EqualFold(text, name[:3]) {
			y, m, d := day.Date()
			return time.Date(y, m, d+1, 0, 0, 0, 0, now.Location()), true
		}
	}
	return time.Time{}, false
}

// endFlags are the flags --for and --until of commands whose effect ends.
type endFlags struct {
	length, until string
	isGiven       func(flag string) bool // also with an empty value, as that of a variable which a script has not set; may be nil
}

// add adds the flags to a command. what names the thing that ends, without says when it ends without a flag.
func (e *endFlags) add(cmd *cobra.Command, what, without string) {
	cmd.Flags().StringVar(&e.length, "for", "", "`DURATION` of "+what+" in s, m, h or d (default: "+without+")")
	cmd.Flags().StringVar(&e.until, "until", "", "end of "+what+": a local `DATE` or the name of a weekday, at the end of that day, a date and time, or a duration")
	cmd.MarkFlagsMutuallyExclusive("for", "until")
	e.isGiven = cmd.Flags().Changed
}

// time returns the end. If no flag is given, it is now plus without; if without is 0, it is the zero time, for no end.
func (e *endFlags) time(now time.Time, without time.Duration) (time.Time, error) {
	given := func(flag, value string) bool { return value != "" || e.isGiven != nil && e.isGiven(flag) }
	switch {
	case given("until", e.until):
		end, err := parseEnd(e.until, now)
		if err != nil {
			return time.Time{}, checks.BadArgument("--until: %v", err)
		}
		return end, nil
	case given("for", e.length):
		d, err := config.ParseDuration(e.length)
		if err == nil && d == 0 {
			err = errNoDuration
		}
		if err != nil {
			return time.Time{}, checks.BadArgument("--for: %v", err)
		}
		return now.Add(d), nil
	case without == 0:
		return time.Time{}, nil
	default:
		return now.Add(without), nil
	}
}

var errNoDuration = errors.New("want a duration over 0")

// parseEnd parses an end: a date or the name of a weekday, which include that day, a date and time, or a duration after now.
func parseEnd(text string, now time.Time) (time.Time, error) {
	if d, err := config.ParseDuration(text); err == nil {
		if d == 0 {
			return time.Time{}, errNoDuration
		}
		return now.Add(d), nil
	}
	if end, ok := weekday(text, now.Local()); ok {
		return end, nil
	}
	end, dateAlone, ok := parseDate(text)
	if !ok {
		return time.Time{}, fmt.Errorf("%q is no date and no duration; write 2026-12-04, \"2026-12-04 15:00\", friday or 2d", text)
	}
	if dateAlone {
		end = end.AddDate(0, 0, 1) // the day itself is included
	}
	switch {
	case !end.After(now):
		return time.Time{}, fmt.Errorf("%s has passed", text)
	case end.Year() > 9999: // JSON has no such time
		return time.Time{}, fmt.Errorf("%s is too late; write an earlier date", text)
	}
	return end, nil
}

// parseDate parses a date, or a date and a time, in the local zone.
func parseDate(text string) (at time.Time, dateAlone, ok bool) {
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", "2006-01-02T15:04", time.DateTime, time.RFC3339} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, layout == time.DateOnly, true
		}
	}
	return time.Time{}, false, false
}

// parseSince parses the beginning of a period, the value of --since: a local date, today, yesterday, a date and time, or a duration
// before now.
func parseSince(text string, now time.Time) (time.Time, error) {
	y, m, day := now.Local().Date()
	today := time.Date(y, m, day, 0, 0, 0, 0, time.Local)
	switch {
	case strings.EqualFold(text, "today"):
		return today, nil
	case strings.EqualFold(text, "yesterday"):
		return today.AddDate(0, 0, -1), nil
	}
	if d, err := config.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	at, _, ok := parseDate(text)
	if !ok {
		return time.Time{}, checks.BadArgument("--since: %q is no date and no duration; write 2026-11-28, \"2026-11-28 15:00\", yesterday or 2d", text)
	}
	return at, nil
}
