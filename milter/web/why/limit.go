package why

import (
	"sync"
	"time"

	"milterd/milter/web"
)

// pageRate limits all pages together. A request beyond it gets status 429 after delayPage. The delay slows down clients that
// wait for the answer before they ask again: without it they use the processors that mail needs.
var pageRate = web.Rate{Burst: 1000, Interval: 10 * time.Millisecond}

const delayPage = 20 * time.Millisecond

// Limits of tests: of one record, and of all together. They are enough for a postmaster who repairs a zone, and keep the DNS
// load that strangers can cause low.
var (
	recordRate = web.Rate{Burst: 6, Interval: time.Minute}
	testRate   = web.Rate{Burst: 30, Interval: 2 * time.Second}
)

// testsAtATime is the number of tests that may run at the same time.
const testsAtATime = 4

// limiter limits pages and tests. It is safe for concurrent use.
type limiter struct {
	now func() time.Time

	mu      sync.Mutex
	running int // tests
	pages   web.Bucket
	tests   web.Bucket
	records web.Buckets[string] // of tests, by the id of the record
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, records: web.Buckets[string]{}}
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
	if l.running >= testsAtATime || !l.tests.Allows(testRate, now) || !l.records[id].Allows(recordRate, now) {
		return false
	}
	l.running++
	l.tests.Add(testRate, now)
	l.records.Add(id, recordRate, now)
	return true
}

func (l *limiter) endTest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
}
