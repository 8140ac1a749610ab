package records

import (
	"context"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// The records lie in a ring of slots: record n is in slot n modulo their number, over the one that was there. So there are
// never more than that, in any store, and the last ones are found without a search.
const (
	lastKey = "records:last" // the number of the last record, counted by all hosts
	slotKey = "records:slot:"
	idKey   = "records:id:" // the number of a record, by its id
)

const (
	// queueLength is how many records wait for a slow store: some seconds of a busy host.
	queueLength = 4096
	// writers is how many records are written at a time: a Redis is some steps away.
	writers = 4
	// forever is for the counter: if it began anew, the order would be lost.
	forever = 50 * 365 * 24 * time.Hour
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

// pending is a record on its way, whose checks are not written out yet.
type pending struct {
	Record
	results []checks.Result
}

// Open begins to take records.
func Open(store checks.Store, opts Options) *Book {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	b := &Book{store: store, opts: opts, queue: make(chan pending, queueLength)}
	for range writers {
		b.writing.Go(b.run)
	}
	return b
}

// Keep is how long a record is kept.
func (b *Book) Keep() time.Duration { return b.opts.Keep }

// Decided takes the record of a decision, if there is something to tell.
func (b *Book) Decided(s *checks.Session, d checks.Decision) {
	if d.Reply != nil || len(d.Outcomes) > 0 {
		b.add(pending{decided(s, d), d.Results})
	}
}

// Accepted takes the record of an accepted message. Those of trusted clients were not judged: they are the site's own mail.
func (b *Book) Accepted(s *checks.Session) {
	if !s.Trusted {
		b.add(pending{Record: accepted(s)})
	}
}

func (b *Book) add(p pending) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return
	}
	select {
	case b.queue <- p:
	default:
		b.drop(nil)
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

func (b *Book) run() {
	for p := range b.queue {
		if err := b.take(p); err != nil {
			b.drop(err)
		} else {
			b.written.Add(1)
		}
	}
}

// take writes a record. A panic on some odd answer of the DNS loses that record alone.
func (b *Book) take(p pending) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	p.Checks = Trace(p.results)
	return b.write(context.Background(), p.Record)
}

// drop counts a lost record, and tells of it now and then.
func (b *Book) drop(err error) {
	n := b.dropped.Add(1)
	now, told := b.opts.Now().Unix(), b.told.Load()
	if b.opts.Log == nil || now-told < int64(quiet/time.Second) || !b.told.CompareAndSwap(told, now) {
		return
	}
	e := b.opts.Log.WithField("records", n)
	if err != nil {
		e = e.WithError(err)
	}
	e.Warn("decision records lost since the start: the store does not take them")
}

// write puts a record into its slot, and forgets the one that was there.
func (b *Book) write(ctx context.Context, r Record) error {
	n, err := b.store.Add(ctx, lastKey, 1, forever)
	if err != nil {
		return err
	}
	slot := b.slot(n)
	old, ok, err := b.store.Get(ctx, slot)
	if err != nil {
		return err
	}
	if ok {
		if before, _, err := decode(old); err == nil {
			if err := b.store.Delete(ctx, idKey+before.ID); err != nil {
				return err
			}
		}
	}
	r.Number = n
	value, err := r.encode()
	if err != nil {
		return err
	}
	if err := b.store.Put(ctx, slot, value, b.opts.Keep); err != nil {
		return err
	}
	return b.store.Put(ctx, idKey+r.ID, strconv.AppendInt(nil, n, 10), b.opts.Keep)
}

func (b *Book) slot(n int64) string {
	return slotKey + strconv.FormatInt(n%int64(max(b.opts.Max, 1)), 10)
}

// Get finds a record by its id; false if it is not kept.
func (b *Book) Get(ctx context.Context, id string) (Record, bool, error) {
	value, ok, err := b.store.Get(ctx, idKey+id)
	if err != nil || !ok {
		return Record{}, false, err
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return Record{}, false, fmt.Errorf("records: number of %s: %w", id, err)
	}
	r, more, ok, err := b.at(ctx, n)
	if err != nil || !ok || r.ID != id {
		return Record{}, false, err
	}
	return r, true, r.complete(more)
}

// at reads record n without its checks, which come as they were written.
func (b *Book) at(ctx context.Context, n int64) (r Record, more []byte, ok bool, err error) {
	value, ok, err := b.store.Get(ctx, b.slot(n))
	if err != nil || !ok {
		return r, nil, false, err
	}
	if r, more, err = decode(value); err != nil {
		return r, nil, false, fmt.Errorf("records: record %d: %w", n, err)
	}
	return r, more, r.Number == n, nil
}
