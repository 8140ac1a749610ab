package checks

import (
	"fmt"
	"strings"
	"time"
)

// FormatDuration returns d as the configuration has it: 30s, 1h30m or 14d. It drops fractions of a second. d must not be negative.
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	for _, u := range [...]struct {
		letter byte
		length time.Duration
	}{{'d', 24 * time.Hour}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}} {
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
