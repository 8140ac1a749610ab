package main

import (
	"time"

	"github.com/spf13/cobra"

	"milterd/cmd/milterd/internal/config"
)

// endFlags are the flags --for and --until of commands whose effect ends.
type endFlags struct{ length, until string }

// add adds the flags to a command. what is what ends, without is what happens without a flag.
func (e *endFlags) add(cmd *cobra.Command, what, without string) {
	cmd.Flags().StringVar(&e.length, "for", "", "`DURATION` of "+what+" in s, m, h or d (default: "+without+")")
	cmd.Flags().StringVar(&e.until, "until", "", "end of "+what+": a local `DATE`, at the end of that day, a date and time, or a duration")
	cmd.MarkFlagsMutuallyExclusive("for", "until")
}

// time returns the end: that of the flags, or the time after now that is given. 0 is no end, the zero time.
func (e *endFlags) time(now time.Time, without time.Duration) (time.Time, error) {
	flag, text := "--for", e.length
	if e.until != "" {
		flag, text = "--until", e.until
	}
	if text == "" {
		if without == 0 {
			return time.Time{}, nil
		}
		return now.Add(without), nil
	}
	if d, err := config.ParseDuration(text); err == nil {
		if d == 0 {
			return time.Time{}, wrongUsage("%s: want a duration over 0", flag)
		}
		return now.Add(d), nil
	} else if flag == "--for" {
		return time.Time{}, wrongUsage("--for: %w", err)
	}
	end, dateAlone, ok := parseDate(text)
	if !ok {
		return time.Time{}, wrongUsage("--until: %q is no date and no duration; write 2026-12-04, \"2026-12-04 15:00\" or 2d", text)
	}
	if dateAlone {
		end = end.AddDate(0, 0, 1) // the day itself is included
	}
	if !end.After(now) {
		return time.Time{}, wrongUsage("--until: %s has passed", text)
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

// parseSince parses the beginning of a period: a local date, a date and time, or a duration before now.
func parseSince(flag, text string, now time.Time) (time.Time, error) {
	if d, err := config.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	at, _, ok := parseDate(text)
	if !ok {
		return time.Time{}, wrongUsage("%s: %q is no date and no duration; write 2026-11-28, \"2026-11-28 15:00\" or 2d", flag, text)
	}
	return at, nil
}
