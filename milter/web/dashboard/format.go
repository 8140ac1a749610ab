package dashboard

import (
	"fmt"
	"html/template"
	"strconv"
	"time"

	"milterd/checks"
	"milterd/milter/web"
)

// maxShownAnswer is how much of an answer of the DNS is shown, in octets.
const maxShownAnswer = 1024

// funcs are what the templates write with.
func (x *dashboard) funcs() template.FuncMap {
	return template.FuncMap{
		"stamp":  x.stamp,
		"clock":  func(t time.Time) string { return t.In(x.Zone).Format("15:04:05") },
		"day":    func(t time.Time) string { return t.In(x.Zone).Format("Mon 2 Jan") },
		"date":   func(t time.Time) string { return t.In(x.Zone).Format(time.DateOnly) },
		"iso":    func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") },
		"zone":   func(t time.Time) string { return t.In(x.Zone).Format("MST") },
		"since":  func(now, t time.Time) string { return about(now.Sub(t)) },
		"until":  func(now, t time.Time) string { return about(t.Sub(now)) },
		"text":   web.Shown,
		"path":   func(s string) string { return "<" + web.Shown(s) + ">" },
		"badge":  badge,
		"count":  func(n any) string { return countText(n) },
		"octets": octets,
		"millis": func(ms float64) string { return strconv.FormatFloat(ms, 'f', decimals(ms), 64) },
		"long":   func(s string) string { return checks.Clean(s, maxShownAnswer) },
		"list":   func(v ...any) []any { return v },
	}
}

// stamp is a time for people.
func (x *dashboard) stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.In(x.Zone).Format("2006-01-02 15:04:05")
}

// about is a duration in one unit or two: "3 d 4 h", "12 min", "40 s".
func about(d time.Duration) string {
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

// octets is a size for people; empty if it is unknown.
func octets(n int64) string {
	const kib = 1024.0
	v := float64(n)
	switch {
	case n < 0:
		return ""
	case v < kib:
		return fmt.Sprintf("%d octets", n)
	case v < kib*kib:
		return fmt.Sprintf("%.0f KiB", v/kib)
	case v < kib*kib*kib:
		return fmt.Sprintf("%.1f MiB", v/kib/kib)
	}
	return fmt.Sprintf("%.1f GiB", v/kib/kib/kib)
}

func countText(n any) string {
	switch n := n.(type) {
	case int:
		return grouped(n)
	case int64:
		return grouped(n)
	case uint64:
		return grouped(n)
	}
	return fmt.Sprint(n)
}

// decimals shows three digits of a time that matter.
func decimals(ms float64) int {
	switch {
	case ms >= 100:
		return 0
	case ms >= 1:
		return 1
	}
	return 2
}
