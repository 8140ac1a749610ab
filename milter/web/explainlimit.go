package web

import (
	"sync"
	"time"
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
	manyReferences    = 1000 // beyond them, those that are full again are forgotten
)

// limiter counts pages and tests. It is safe for concurrent use.
type limiter struct {
	now func() time.Time

	mu      sync.Mutex
	running int
	pages   bucket
	overall bucket
	each    map[string]bucket
}

// bucket is how many are left, and when that was.
type bucket struct {
	left float64
	at   time.Time
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, pages: bucket{pagesOverall, now()}, overall: bucket{testsOverall, now()}, each: map[string]bucket{}}
}

// begin tells whether a test for a reference may run now; end is then called after it.
func (l *limiter) begin(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.overall = l.overall.refill(now, testsOverall, refillOverall)
	b, known := l.each[id]
	if !known {
		b = bucket{testsPerReference, now}
	}
	b = b.refill(now, testsPerReference, refillReference)
	if b.left < 1 || l.overall.left < 1 || l.running >= testsAtATime {
		return false
	}
	b.left--
	l.overall.left--
	l.running++
	if len(l.each) >= manyReferences {
		for id, b := range l.each {
			if b.refill(now, testsPerReference, refillReference).left >= testsPerReference {
				delete(l.each, id)
			}
		}
	}
	l.each[id] = b
	return true
}

// page tells whether one more page may be made now.
func (l *limiter) page() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pages = l.pages.refill(l.now(), pagesOverall, refillPages)
	if l.pages.left < 1 {
		return false
	}
	l.pages.left--
	return true
}

func (l *limiter) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
}

func (b bucket) refill(now time.Time, most float64, each time.Duration) bucket {
	return bucket{min(b.left+max(0, now.Sub(b.at).Seconds())/each.Seconds(), most), now}
}
