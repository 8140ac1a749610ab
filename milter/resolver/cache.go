package resolver

import (
	"sync"
	"time"

	"milterd/checks"
	"milterd/milter/lru"
)

// Lifetimes in the cache.
const (
	// minTTL covers an SMTP session, which asks one question at several stages. A TTL of 0 means "for the transaction
	// in progress" (RFC 1035 section 3.2.1), which is the session here. minTTL is also the lifetime of a negative
	// answer without SOA, which RFC 2308 section 5 says not to cache.
	minTTL = 30 * time.Second

	maxTTL         = 24 * time.Hour
	maxNegativeTTL = time.Hour // RFC 2308 section 5 recommends one to three hours

	// failureTTL keeps a session whose checks ask the same question from waiting for several time-outs. RFC 9520
	// section 3.2 requires 1 s to 5 min.
	failureTTL = 5 * time.Second
)

// entry is the result of one question.
type entry struct {
	answer checks.Answer
	err    error
	ttl    time.Duration // 0: not to be cached
}

// cache holds entries until they expire or newer ones need the memory. It is safe for concurrent use.
type cache struct {
	elapsed func() time.Duration

	mu      sync.Mutex
	entries *lru.Cache[checks.Question, cached]
}

// cached is an entry with the end of its lifetime.
type cached struct {
	entry
	expires time.Duration // on the clock elapsed
}

// maxCache is the approximate size of the cache in bytes. A typical answer takes 400. With half, a busy site asks again about hosts that
// connect every few minutes; double adds 32 MiB of memory, as the garbage collector lets the heap grow to twice its live size.
const maxCache = 16 << 20

// newCache returns a cache of at most size bytes. elapsed returns the time since some fixed moment, so that the cache is
// not affected by changes of the system clock.
func newCache(size int, elapsed func() time.Duration) *cache {
	return &cache{elapsed: elapsed, entries: lru.New(size, weight)}
}

func (c *cache) get(q checks.Question) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries.Get(q)
	if !ok {
		return entry{}, false
	}
	if c.elapsed() >= e.expires {
		c.entries.Delete(q)
		return entry{}, false
	}
	return e.entry, true
}

func (c *cache) put(q checks.Question, e entry) {
	if e.ttl <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Set(q, cached{entry: e, expires: c.elapsed() + e.ttl})
}

func (c *cache) forget(q checks.Question) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Delete(q)
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Clear()
}

// size returns the number of entries, with those that have expired, and their memory in bytes.
func (c *cache) size() (entries, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries.Len(), c.entries.Size()
}

// weight estimates the memory of an entry in bytes, rounded up: the heap grew by 206 for a negative answer, 326 with
// one A record, 534 with a TXT record of 200 bytes, 1430 with ten A records.
func weight(q checks.Question, e cached) int {
	return 220 + len(q.Name) + e.answer.Size() // a message of 64 KiB takes some MiB at most: a record has 11 bytes or more
}
