package why

import (
	"sync"
	"time"

	"milterd/milter/web"
)

// Limits of all pages together. A request beyond them gets status 429 after delayPage. The delay slows down clients that wait
// for the answer before they ask again: without it they use the processors that mail needs.
const (
	pagesOverall = 1000 // at once, and then one more after each
	refillPages  = 10 * time.Millisecond
	delayPage    = 20 * time.Millisecond
)

// Limits of tests. They are enough for a postmaster who repairs a zone, and keep the DNS load that strangers can cause low.
const (
	testsPerReference = 6 // at once, and then one more after each
	refillReference   = time.Minute
	testsOverall      = 30 // at once, and then one more after each
	refillOverall     = 2 * time.Second
	testsAtATime      = 4
)

var (
	pageRate      = web.Rate{Burst: pagesOverall, Interval: refillPages}
	referenceRate = web.Rate{Burst: testsPerReference, Interval: refillReference}
	testRate      = web.Rate{Burst: testsOverall, Interval: refillOverall}
)

// limiter limits pages and tests. It is safe for concurrent use.
type limiter struct {
	now func() time.Time

	mu         sync.Mutex
	running    int // tests
	pages      web.Bucket
	tests      web.Bucket
	references web.Buckets[string]
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, references: web.Buckets[string]{}}
}

// allowPage counts a page and reports whether it is allowed.
func (l *limiter) allowPage() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if !l.pages.Allows(pageRate, now) {
		return false
	}
	l.pages.Add(pageRate, now)
	return true
}

// beginTest counts a test of a record and reports whether it is allowed. If so, the caller calls endTest after it.
func (l *limiter) beginTest(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.running >= testsAtATime || !l.tests.Allows(testRate, now) || !l.references.Allows(id, referenceRate, now) {
		return false
	}
	l.running++
	l.tests.Add(testRate, now)
	l.references.Add(id, referenceRate, now)
	return true
}

func (l *limiter) endTest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
}
