package config

import (
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

// ParseDuration parses a duration of the configuration: numbers with the units d (24 hours), h, m and s, longest first, as
// in 30s, 1h30m or 14d, or 0 without a unit. The result is not negative. The error quotes s and says how to write it.
func ParseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	if strings.HasPrefix(s, "-") {
		return 0, fmt.Errorf("%s is negative; write a duration of 0 or more", quote(s))
	}
	malformed := fmt.Errorf("%s is not a duration; write it as 30s, 1h30m or 14d", quote(s))
	var total time.Duration
	next := 0 // index of the longest unit that may follow
	for rest := s; rest != "" || s == ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		switch {
		case digits == 0:
			return 0, malformed
		case digits == len(rest):
			return 0, fmt.Errorf("%s has no unit; add s, m, h or d", quote(s))
		}
		unit := next
		for unit < len(durationUnits) && durationUnits[unit].letter != rest[digits] {
			unit++
		}
		if unit == len(durationUnits) {
			return 0, malformed
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		length := durationUnits[unit].length
		if err != nil || n > int64((math.MaxInt64-total)/length) {
			return 0, fmt.Errorf("%s is too long; write a duration under 292 years", quote(s))
		}
		total += time.Duration(n) * length
		next, rest = unit+1, rest[digits+1:]
	}
	return total, nil
}
