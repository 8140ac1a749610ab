package web

import (
	"maps"
	"time"
)

// Rate is a rate limit: Burst events at once, and one more after each Interval.
type Rate struct {
	Burst    int
	Interval time.Duration
}

// Bucket is the state of a rate limit, a token bucket. The zero value allows a full burst. It is not safe for concurrent use.
type Bucket struct {
	used float64 // events that still count against the burst at the time at
	at   time.Time
}

// Allows reports whether r allows one more event at now.
func (b Bucket) Allows(r Rate, now time.Time) bool {
	return b.usedAt(r, now) <= float64(r.Burst-1)
}

// Add counts an event.
func (b *Bucket) Add(r Rate, now time.Time) {
	b.used, b.at = b.usedAt(r, now)+1, now
}

func (b Bucket) usedAt(r Rate, now time.Time) float64 {
	return max(0, b.used-max(0, now.Sub(b.at).Seconds())/r.Interval.Seconds())
}

// Buckets has the state of a rate limit for each key. It is not safe for concurrent use.
type Buckets[K comparable] map[K]Bucket

// Add counts an event of a key. It prunes the other keys.
func (bs Buckets[K]) Add(key K, r Rate, now time.Time) {
	bs.Prune(r, now)
	b := bs[key]
	b.Add(r, now)
	bs[key] = b
}

// Prune deletes the keys that may use a full burst again.
func (bs Buckets[K]) Prune(r Rate, now time.Time) {
	maps.DeleteFunc(bs, func(_ K, b Bucket) bool { return b.usedAt(r, now) == 0 })
}
