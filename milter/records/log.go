package records

import (
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/milter/queue"
)

const (
	// maxQueued is the size of the records that wait for a slow store: about ten thousand, which a busy host makes in
	// half a minute. With half of it, records are lost after half the time; with twice as much, the queue may take
	// twice the memory.
	maxQueued = 16 << 20 // bytes
	// recordOverhead is the memory that a waiting record takes beside its text.
	recordOverhead = 128 // bytes
	// linger is how long a record waits for others, because the store writes a batch as fast as one. With half of it,
	// the store is written twice as often; with twice as much, a crash loses twice as many records.
	linger = 100 * time.Millisecond
	// flushTimeout is how long a reader waits for the records that are not written yet, as it expects to find them.
	flushTimeout = time.Second
)

// Options configure a Log.
type Options struct {
	Keep time.Duration    // age of the oldest record
	Max  int              // number of records, at least 1
	Now  func() time.Time // nil: time.Now
	Log  *logrus.Entry    // gets a warning when records are lost; may be nil
}

// Log is the log of decisions. It implements milter.Journal: it writes in the background, and drops and counts the
// records that the store does not take in time. It is safe for concurrent use.
type Log struct {
	store      checks.Store
	opts       Options
	queue      *queue.Writer[entry]
	part       part   // used by write only, as is compressed
	compressed []byte // the last stored part, for its capacity
	written    atomic.Uint64
}

// entry is an encoded record that waits.
type entry struct {
	id   string // empty unless it is a refusal, which Get finds by the id
	text []byte
}

// Open starts a Log. Close ends it.
func Open(store checks.Store, opts Options) *Log {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	l := &Log{store: store, opts: opts}
	l.queue = queue.New(queue.Config[entry]{
		MaxBytes: maxQueued,
		Size:     func(e entry) int { return recordOverhead + len(e.text) },
		Write:    l.write,
		Linger:   linger,
		OnDrop:   queue.Warn(opts.Log, "records", "decision records lost since the start: the store is down or too slow"),
	})
	return l
}

// Keep returns the age of the oldest record.
func (l *Log) Keep() time.Duration { return l.opts.Keep }

// Decided records a decision that has a reply or an outcome.
func (l *Log) Decided(r *checks.Request, d checks.Decision) {
	if d.Reply != nil || len(d.Outcomes) > 0 {
		l.add(decided(r.Session, d))
	}
}

// Accepted records an accepted message. A message of a trusted client was not checked and is not recorded.
func (l *Log) Accepted(r *checks.Request) {
	if !r.Trusted() {
		l.add(accepted(r))
	}
}

func (l *Log) add(r Record) {
	text, err := encode(r)
	if err != nil {
		l.queue.Drop(1, err)
		return
	}
	e := entry{text: text}
	if r.Reply != "" {
		e.id = r.ID
	}
	l.queue.Add(e)
}

// Stats counts records since the start.
type Stats struct {
	Written uint64 `json:"written"`
	Dropped uint64 `json:"dropped"` // that the store did not take, or not in time
}

// Stats returns the counts.
func (l *Log) Stats() Stats { return Stats{Written: l.written.Load(), Dropped: l.queue.Dropped()} }

// Waiting returns the size of the records that wait to be written, in bytes.
func (l *Log) Waiting() int { return l.queue.Size() }

// Close writes the records that wait, for at most the timeout. Later records are lost.
func (l *Log) Close(timeout time.Duration) { l.queue.Close(timeout) }
