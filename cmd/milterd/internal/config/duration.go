package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// durationUnits are the units of a duration, longest first.
var durationUnits = [...]struct {
	letter byte
	length time.Duration
}{{'d', 24 * time.Hour}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

// ParseDuration reads a duration of the configuration: numbers with the units d (24 hours), h, m and s, longest first,
// such as 30s, 1h30m or 14d, or a plain 0. It is never negative.
func ParseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	if strings.HasPrefix(s, "-") {
		return 0, errors.New("it cannot be negative")
	}
	var total time.Duration
	next := 0 // the units before it are used up
	for rest := s; rest != "" || s == ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 {
			return 0, errors.New("want a duration such as 30s, 1h30m or 14d")
		}
		if digits == len(rest) {
			return 0, fmt.Errorf("%s has no unit: want s, m, h or d", quote(rest))
		}
		unit := next
		for unit < len(durationUnits) && durationUnits[unit].letter != rest[digits] {
			unit++
		}
		if unit == len(durationUnits) {
			return 0, errors.New("want a duration such as 30s, 1h30m or 14d")
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		length := durationUnits[unit].length
		if err != nil || n > int64((math.MaxInt64-total)/length) {
			return 0, errors.New("it is too long")
		}
		total += time.Duration(n) * length
		next, rest = unit+1, rest[digits+1:]
	}
	return total, nil
}

// FormatDuration writes a duration as ParseDuration reads it. Parts of a second are lost, and so is the sign.
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	for _, u := range durationUnits {
		if n := d / u.length; n > 0 {
			fmt.Fprintf(&b, "%d%c", n, u.letter)
			d -= n * u.length
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}
