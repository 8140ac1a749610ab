package why

import (
	"sync"
	"time"

	"milterd/milter/web"
)

// How many pages are made for everybody together. Beyond that it is the delay that leaves the processors to mail: who waits for
// his answer does not ask again.
const (
	pagesOverall = 1000 // at once, and then
	refillPages  = 10 * time.Millisecond
	delayPage    = 20 * time.Millisecond
)

// How often the DNS is asked for those who test again: enough for who repairs his zone, too little to be of use to anyone
// else.
const (
	testsPerReference = 6 // at once, and then
	refillReference   = time.Minute
	testsOverall      = 30 // at once, and then
	refillOverall     = 2 * time.Second
	testsAtATime      = 4
)

// limiter counts pages and tests. It is safe for concurrent use.
type limiter struct {
	now func() time.Time

	mu      sync.Mutex
	running int
	pages   web.Bucket
	overall web.Bucket
	each    web.Buckets[string]
}

var (
	pageRate      = web.Rate{Burst: pagesOverall, Interval: refillPages}
	testRate      = web.Rate{Burst: testsOverall, Interval: refillOverall}
	referenceRate = web.Rate{Burst: testsPerReference, Interval: refillReference}
)

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, each: web.Buckets[string]{}}
}

// begin tells whether a test for a reference may run now; end is then called after it.
func (l *limiter) begin(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.running >= testsAtATime || !l.overall.Allows(testRate, now) || !l.each.Allows(id, referenceRate, now) {
		return false
	}
	l.running++
	l.overall.Add(testRate, now)
	l.each.Add(id, referenceRate, now)
	return true
}

// page tells whether one more page may be made now.
func (l *limiter) page() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if !l.pages.Allows(pageRate, now) {
		return false
	}
	l.pages.Add(pageRate, now)
	return true
}

func (l *limiter) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
}
