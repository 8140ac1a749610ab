package records

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

const (
	// queueLength is how many records wait for a slow store: some seconds of a busy host.
	queueLength = 4096
	// linger is how long the first of some records waits for others, which are written with it.
	linger = 100 * time.Millisecond
	// patience is how long who looks for records waits for those that are not written yet.
	patience = time.Second
	// quiet is how long after having told of drops the next ones are told.
	quiet = time.Minute
)

// Options says how much is kept.
type Options struct {
	Keep time.Duration    // how long
	Max  int              // how many records at most, at least 1
	Now  func() time.Time // nil: time.Now
	Log  *logrus.Entry    // told of records that were lost
}

// Book takes records and finds them. It implements milter.Journal: mail never waits for it, what the store does not take in
// time is dropped and counted. It is safe for concurrent use.
type Book struct {
	store checks.Store
	opts  Options

	mu      sync.RWMutex // add against Close
	closed  bool
	queue   chan pending
	writing sync.WaitGroup

	written, dropped atomic.Uint64
	told             atomic.Int64 // when drops were last told, in Unix seconds
}

// pending is a record on its way, whose checks are not written out yet, or somebody who waits until those before are written.
type pending struct {
	Record
	results []checks.Result
	reached chan struct{} // nil: a record
}

// Open begins to take records.
func Open(store checks.Store, opts Options) *Book {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	b := &Book{store: store, opts: opts, queue: make(chan pending, queueLength)}
	b.writing.Go(b.run)
	return b
}

// Keep is how long a record is kept.
func (b *Book) Keep() time.Duration { return b.opts.Keep }

// Decided takes the record of a decision, if there is something to tell.
func (b *Book) Decided(s *checks.Session, d checks.Decision) {
	if d.Reply != nil || len(d.Outcomes) > 0 {
		b.add(pending{Record: decided(s, d), results: brief(d.Results)})
	}
}

// Accepted takes the record of an accepted message. Those of trusted clients were not judged: they are the site's own mail.
func (b *Book) Accepted(s *checks.Session) {
	if !s.Trusted {
		b.add(pending{Record: accepted(s)})
	}
}

func (b *Book) add(p pending) {
	if open, taken := b.offer(p); open && !taken {
		b.drop(1, nil)
	}
}

func (b *Book) offer(p pending) (open, taken bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return false, false
	}
	select {
	case b.queue <- p:
		return true, true
	default:
		return true, false
	}
}

// flush waits until what was taken before is written, so that who looks for it finds it; not for long.
func (b *Book) flush(ctx context.Context) {
	reached := make(chan struct{})
	if _, taken := b.offer(pending{reached: reached}); !taken {
		return
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-reached:
	case <-ctx.Done():
	case <-limit.C:
	}
}

// Stats counts records since the start.
type Stats struct {
	Written uint64 `json:"written"`
	Dropped uint64 `json:"dropped"` // that the store did not take, or not in time
}

// Stats tells how the writing does.
func (b *Book) Stats() Stats { return Stats{b.written.Load(), b.dropped.Load()} }

// Close waits until the queue is written, but no longer than the patience. What comes after it is lost.
func (b *Book) Close(patience time.Duration) {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.queue)
	}
	b.mu.Unlock()
	done := make(chan struct{})
	go func() { b.writing.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
	}
}

// drop counts lost records, and tells of them now and then.
func (b *Book) drop(lost int, err error) {
	n := b.dropped.Add(uint64(lost))
	now, told := b.opts.Now().Unix(), b.told.Load()
	if b.opts.Log == nil || now >= told && now-told < int64(quiet/time.Second) || !b.told.CompareAndSwap(told, now) {
		return
	}
	e := b.opts.Log.WithField("records", n)
	if err != nil {
		e = e.WithError(err)
	}
	e.Warn("decision records lost since the start: the store does not take them")
}
