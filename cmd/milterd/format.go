package main

import (
	"strings"
	"time"

	"milterd/checks"
)

const (
	maxShownName = 60  // bytes of a name or address in a table
	maxShownLine = 400 // bytes of a value on a line of its own
)

// printableName returns a name or address from outside for a table, in printable US-ASCII.
func printableName(s string) string { return checks.Clean(s, maxShownName) }

// printableLine returns a text from outside for a line, in printable US-ASCII.
func printableLine(s string) string { return checks.Clean(s, maxShownLine) }

// formatTime returns a time in the local zone.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func formatSeconds(n int64) string { return checks.FormatDuration(time.Duration(n) * time.Second) }

func yesOrNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func untilOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " until " + formatTime(t)
}

// plural returns the plural of a word, such as entries, or its singular for 1.
func plural(n int, word string) string {
	switch {
	case n != 1:
		return word
	case strings.HasSuffix(word, "ies"):
		return strings.TrimSuffix(word, "ies") + "y"
	default:
		return strings.TrimSuffix(word, "s")
	}
}
