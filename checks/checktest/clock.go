package checktest

import (
	"sync/atomic"
	"time"
)

// Clock is a clock that the test moves. It begins at Now. It is safe for concurrent use.
type Clock struct {
	moved atomic.Int64 // a time.Duration
}

// Now returns the time.
func (c *Clock) Now() time.Time { return Now.Add(time.Duration(c.moved.Load())) }

// Advance moves the clock, also backwards.
func (c *Clock) Advance(d time.Duration) { c.moved.Add(int64(d)) }

// Set sets the time.
func (c *Clock) Set(t time.Time) { c.moved.Store(int64(t.Sub(Now))) }
