package dashboard

import (
	"fmt"
	"html/template"
	"strconv"
	"time"

	"milterd/checks"
	"milterd/milter/evidence"
	"milterd/milter/web"
)

// maxAnswerBytes is how much of a DNS answer a page shows.
const maxAnswerBytes = 1024

// funcs returns the functions of the templates.
func (p *pages) funcs() template.FuncMap {
	return template.FuncMap{
		"stamp":  p.stamp,
		"clock":  func(t time.Time) string { return t.In(p.zone).Format("15:04:05") },
		"day":    func(t time.Time) string { return t.In(p.zone).Format("Mon 2 Jan") },
		"date":   func(t time.Time) string { return t.In(p.zone).Format(time.DateOnly) },
		"iso":    func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") },
		"zone":   func(t time.Time) string { return t.In(p.zone).Format("MST") },
		"since":  func(now, t time.Time) string { return duration(now.Sub(t)) },
		"until":  func(now, t time.Time) string { return duration(t.Sub(now)) },
		"text":   web.Shown,
		"path":   func(s string) string { return "<" + web.Shown(s) + ">" },
		"answer": func(s string) string { return checks.Clean(s, maxAnswerBytes) },
		"count":  grouped,
		"plural": plural,
		"size":   size,
		"millis": millis,
		"list":   func(v ...any) []any { return v },
		"trace":  traceAddress,

		"countsText": countsText, "answerText": answerText, "answerClass": answerClass, "senders": newSendersView,
		"verdictClass": func(v evidence.Verdict) string { return string(v) },
	}
}

// stamp formats a date and time; a dash for the zero time.
func (p *pages) stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.In(p.zone).Format("2006-01-02 15:04:05")
}

// duration formats a duration in one or two units: "3 d 4 h", "12 min", "40 s".
func duration(d time.Duration) string {
	const day = 24 * time.Hour
	d = max(d, 0)
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d d %d h", d/day, d%day/time.Hour)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// size formats a number of bytes; it returns "" for a negative number, which stands for an unknown size.
func size(bytes int64) string {
	const kib = 1024.0
	v := float64(bytes)
	switch {
	case bytes < 0:
		return ""
	case v < kib:
		return plural(int(bytes), "byte")
	case v < kib*kib:
		return fmt.Sprintf("%.0f KiB", v/kib)
	case v < kib*kib*kib:
		return fmt.Sprintf("%.1f MiB", v/kib/kib)
	}
	return fmt.Sprintf("%.1f GiB", v/kib/kib/kib)
}

// plural formats a number with a noun that takes an s in the plural.
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(n) + " " + noun
}

// grouped formats an integer that is not negative in groups of three digits with narrow no-break spaces between them.
func grouped(n any) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

// millis formats milliseconds, a larger number with fewer decimals.
func millis(ms float64) string {
	decimals := 2
	switch {
	case ms >= 100:
		decimals = 0
	case ms >= 1:
		decimals = 1
	}
	return strconv.FormatFloat(ms, 'f', decimals, 64)
}
