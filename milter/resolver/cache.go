package resolver

import (
	"time"

	"github.com/maypok86/otter/v2"

	"milterd/checks"
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

// cache holds entries until they expire or more useful ones need the memory. It is safe for concurrent use and has no
// goroutines.
type cache struct {
	entries *otter.Cache[checks.Question, *entry]
}

// newCache returns a cache of about size bytes. elapsed returns the time since some fixed moment.
func newCache(size int, elapsed func() time.Duration) (*cache, error) {
	entries, err := otter.New(&otter.Options[checks.Question, *entry]{
		MaximumWeight: uint64(size),
		Weigher:       weight,
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[checks.Question, *entry]) time.Duration {
			return e.Value.ttl
		}),
		Clock:    cacheClock(elapsed),
		Executor: func(f func()) { f() }, // in the caller's goroutine
	})
	if err != nil {
		return nil, err
	}
	return &cache{entries: entries}, nil
}

func (c *cache) get(q checks.Question) (entry, bool) {
	e, ok := c.entries.GetIfPresent(q)
	if !ok {
		return entry{}, false
	}
	return *e, true
}

func (c *cache) put(q checks.Question, e entry) {
	if e.ttl > 0 {
		c.entries.Set(q, &e)
	}
}

func (c *cache) forget(q checks.Question) { c.entries.Invalidate(q) }

// weight estimates the memory of an entry in bytes, rounded up: the heap grew by 206 for a negative answer, 326 with
// one A record, 534 with a TXT record of 200 bytes, 1430 with ten A records.
func weight(q checks.Question, e *entry) uint32 {
	return uint32(220 + len(q.Name) + e.answer.Size()) // a message of 64 KiB takes some MiB at most: a record has 11 bytes or more
}

// cacheClock is the clock for otter. It counts from the start of the resolver, so that it is not affected by changes of
// the system clock.
type cacheClock func() time.Duration

func (c cacheClock) NowNano() int64 { return int64(c()) }

// Tick returns nil, for no ticks: expired entries are removed by later writes.
func (cacheClock) Tick(time.Duration) <-chan time.Time { return nil }
