package checks

import (
	"fmt"
	"time"
)

// maxClockStep is how far the clock may move against the monotonic clock without being in doubt. NTP corrects small errors
// slowly; more than an hour is a step, by hand or after a start with a wrong clock.
const maxClockStep = time.Hour

// Clock reports whether the clock of the host is in doubt. It is in doubt while it has moved by more than an hour against the
// monotonic clock since the start, and while it is before the day of the build. If the clock was wrong already at the start, but after
// the day of the build, that is not noticed.
//
// A nil Clock is never in doubt. A Clock does not change and is safe for concurrent use.
type Clock struct {
	start   time.Time
	built   time.Time
	elapsed func() time.Duration
}

// NewClock returns a Clock that starts now. elapsed returns the time since then by a monotonic clock. built is when the
// program was built; it may be zero.
func NewClock(now, built time.Time, elapsed func() time.Duration) *Clock {
	return &Clock{start: now, built: built.UTC().Truncate(24 * time.Hour), elapsed: elapsed}
}

// Doubt returns a clause that says why the time now is in doubt, or "" if it is not. now is what the clock shows.
func (c *Clock) Doubt(now time.Time) string {
	if c == nil {
		return ""
	}
	// In seconds: a time.Duration cannot hold more than 292 years.
	moved := now.Unix() - c.start.Unix() - int64(c.elapsed()/time.Second)
	switch {
	case moved > int64(maxClockStep/time.Second):
		return fmt.Sprintf("the clock of this host was moved forward by %s", hoursOrDays(moved))
	case -moved > int64(maxClockStep/time.Second):
		return fmt.Sprintf("the clock of this host was moved back by %s", hoursOrDays(-moved))
	case now.Before(c.built):
		return "the clock of this host shows a day before milterd was built"
	default:
		return ""
	}
}

// hoursOrDays returns a number of seconds in hours, or in days from 48 hours on.
func hoursOrDays(seconds int64) string {
	if h := (seconds + 1800) / 3600; h < 48 {
		return fmt.Sprintf("%d h", h)
	}
	return fmt.Sprintf("%d d", (seconds+43200)/86400)
}
