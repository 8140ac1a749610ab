package store

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A record lives for a time, not until one. So the drivers that keep the time themselves go by a clock of their own, which begins
// with the host's and then only counts what passes: whoever moves the host's clock neither ends records nor makes them last for
// years. That of the embedded store never goes back: it goes on from where it was when it was written last, should the host's be
// behind that at a start. The price is that a store which once began years ahead stays ahead, which nobody sees.

// steady is such a clock.
func steady() func() time.Time {
	began := time.Now()
	return func() time.Time { return began.Round(0).Add(time.Since(began)) }
}

// clockKey is the record of what the clock of the embedded store was when it was written last, in milliseconds since 1970. Scan
// does not show it.
const clockKey = "store:clock"

// ownClock is the clock of an embedded store.
type ownClock struct {
	host  func() time.Time
	wall  func() time.Time // what people read
	ahead atomic.Int64     // of host, in milliseconds
}

func (c *ownClock) now() time.Time {
	return c.host().Add(time.Duration(c.ahead.Load()) * time.Millisecond)
}

// shown is a time of the clock as people read it.
func (c *ownClock) shown(expires int64) time.Time {
	return c.wall().Add(time.Duration(expires-c.now().UnixMilli()) * time.Millisecond)
}

// resume lets the clock go on from where it was when the database was written last.
func (c *ownClock) resume(db *pebble.DB) error {
	raw, err := lookup(db, clockKey)
	if raw == nil || err != nil {
		return err
	}
	value, _, _ := decode(raw)
	last, err := strconv.ParseInt(string(value), 10, 64)
	if behind := last - c.now().UnixMilli(); err == nil && behind > 0 { // what is broken is written anew
		c.ahead.Add(behind)
	}
	return nil
}

// note writes what the clock is.
func (c *ownClock) note(batch *pebble.Batch) error {
	now := c.now()
	return batch.Set([]byte(clockKey), encode(nil, strconv.AppendInt(nil, now.UnixMilli(), 10), deadline(now, forever)), nil)
}
