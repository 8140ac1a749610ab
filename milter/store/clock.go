package store

import (
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// elapsedTime returns a clock that starts with the host's and advances by elapsed time only. If the host's clock is
// changed, records neither expire too early nor last for years.
func elapsedTime() func() time.Time {
	began := time.Now()
	return func() time.Time { return began.Round(0).Add(time.Since(began)) }
}

// recordClock is the clock by which the records of a driver expire, in milliseconds since 1970.
type recordClock struct {
	source func() time.Time // Config.Now
	wall   func() time.Time
	offset atomic.Int64 // added to source, see resume
}

func newRecordClock(cfg Config) *recordClock { return &recordClock{source: cfg.Now, wall: cfg.wall} }

func (c *recordClock) now() int64 { return c.source().UnixMilli() + c.offset.Load() }

// deadline returns when a record written now expires.
func (c *recordClock) deadline(ttl time.Duration) int64 { return c.now() + millis(ttl) }

// wallTime converts a deadline to the time shown to people.
func (c *recordClock) wallTime(deadline int64) time.Time {
	return c.wall().Add(time.Duration(deadline-c.now()) * time.Millisecond)
}

// clockKey is the record with the time of the last write, as a decimal number. Scan skips it.
const clockKey = "store:clock"

// resume makes the clock continue from the last write to the database, if the host's clock is earlier: a host without a
// battery-backed clock starts in the past, and records written then would expire when the time is set. A clock that was
// once years fast stays so, which does not affect lifetimes.
func (c *recordClock) resume(db *pebble.DB) error {
	last, err := number(db, clockKey)
	if missing := last - c.now(); missing > 0 {
		c.offset.Add(missing)
	}
	return err
}
