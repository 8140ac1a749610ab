// Package queue writes entries in the background: many goroutines add entries, and one goroutine writes them in
// batches. It serves milter/log, milter/records, milter/evidence and milter/mirror, so that mail never waits for a log or a store.
package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

const (
	// maxBatch is the largest number of entries in one call of Config.Write.
	maxBatch = 64
	// dropInterval is the shortest time between two calls of Config.OnDrop.
	dropInterval = time.Minute
)

// Config configures a Writer.
type Config[T any] struct {
	MaxBytes int                           // size of all entries that wait or are being written; Add drops an entry beyond it
	Size     func(T) int                   // memory that an entry holds, in bytes; it must not change
	Write    func(batch []T)               // writes 1 to maxBatch entries; it may block, and must not retain the slice
	Linger   time.Duration                 // how long the first entry of a batch waits for more entries
	OnDrop   func(total uint64, err error) // if not nil, called after a drop, at most once a minute; see Dropped and Drop
}

// Warn returns a function for Config.OnDrop that logs message as a warning, with the total in field. If log is nil, it
// returns nil.
func Warn(log *logrus.Entry, field, message string) func(total uint64, err error) {
	if log == nil {
		return nil
	}
	return func(total uint64, err error) {
		e := log.WithField(field, total)
		if err != nil {
			e = e.WithError(err)
		}
		if p, ok := errors.AsType[*checks.PanicError](err); ok {
			e = e.WithField("stack", string(p.Stack))
		}
		e.Warn(message)
	}
}

// Writer is a bounded queue in front of a function that writes. It is safe for concurrent use.
type Writer[T any] struct {
	config Config[T]

	mu       sync.Mutex
	changed  *sync.Cond // signals a change of any field below
	waiting  []T
	size     int    // of the entries that wait or are being written
	added    uint64 // entries
	written  uint64 // entries
	flushing int    // running calls of Flush
	closed   bool
	dropped  uint64    // entries
	reported time.Time // when OnDrop was last called
}

// New starts a Writer. Close ends it.
func New[T any](c Config[T]) *Writer[T] {
	w := &Writer[T]{config: c}
	w.changed = sync.NewCond(&w.mu)
	go w.run()
	return w
}

// Add adds an entry. It never blocks: if there is no room, or after Close, the entry is dropped.
func (w *Writer[T]) Add(entry T) {
	if !w.add(entry, w.config.Size(entry)) {
		w.Drop(1, nil)
	}
}

func (w *Writer[T]) add(entry T, size int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.size+size > w.config.MaxBytes {
		return false
	}
	w.waiting = append(w.waiting, entry)
	w.size += size
	w.added++
	if n := len(w.waiting); n == 1 || n == maxBatch { // what next waits for
		w.changed.Broadcast()
	}
	return true
}

// Each calls f for the entries of a batch, n at a time. It counts an entry as dropped if f returns an error or panics.
// Config.Write may call it.
func (w *Writer[T]) Each(batch []T, n int, f func(T) error) {
	entries := make(chan T, len(batch))
	for _, entry := range batch {
		entries <- entry
	}
	close(entries)
	var running sync.WaitGroup
	for range min(n, len(batch)) {
		running.Go(func() {
			for entry := range entries {
				if err := checks.Protect(func() error { return f(entry) }); err != nil {
					w.Drop(1, err)
				}
			}
		})
	}
	running.Wait()
}

// Drop counts n entries as dropped. Config.Write calls it for entries that it could not write because of err.
func (w *Writer[T]) Drop(n int, err error) {
	if n == 0 {
		return
	}
	w.mu.Lock()
	w.dropped += uint64(n)
	total, now := w.dropped, time.Now()
	report := w.config.OnDrop != nil && now.Sub(w.reported) >= dropInterval
	if report {
		w.reported = now
	}
	w.mu.Unlock()
	if report {
		w.config.OnDrop(total, err)
	}
}

// Dropped returns the number of dropped entries since the start.
func (w *Writer[T]) Dropped() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Size returns the size of the entries that wait or are being written, in bytes.
func (w *Writer[T]) Size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}

// Flush waits until the entries that were added before are written, for at most the timeout. It returns an error if the timeout or
// ctx ends first.
func (w *Writer[T]) Flush(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer context.AfterFunc(ctx, w.wake)()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushing++
	defer func() { w.flushing-- }()
	w.changed.Broadcast()
	for last := w.added; w.written < last; w.changed.Wait() {
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Close writes the entries that wait, for at most the timeout. It returns how many were not written by then; Write may
// still be running in that case.
func (w *Writer[T]) Close(timeout time.Duration) (lost int) {
	w.mu.Lock()
	w.closed = true
	w.changed.Broadcast()
	w.mu.Unlock()
	_ = w.Flush(context.Background(), timeout)
	w.mu.Lock()
	defer w.mu.Unlock()
	return int(w.added - w.written)
}

// run writes batches until the Writer is closed and empty.
func (w *Writer[T]) run() {
	for {
		batch := w.next()
		if len(batch) == 0 {
			return
		}
		size := 0
		for _, entry := range batch {
			size += w.config.Size(entry)
		}
		w.config.Write(batch)
		clear(batch) // the array may live on in waiting
		w.mu.Lock()
		w.size -= size
		w.written += uint64(len(batch))
		w.changed.Broadcast()
		w.mu.Unlock()
	}
}

// next waits for entries and takes a batch. At the end it returns none.
func (w *Writer[T]) next() []T {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.waiting) == 0 && !w.closed {
		w.changed.Wait()
	}
	if w.config.Linger > 0 {
		until := time.Now().Add(w.config.Linger)
		t := time.AfterFunc(w.config.Linger, w.wake)
		defer t.Stop()
		for len(w.waiting) < maxBatch && w.flushing == 0 && !w.closed && time.Now().Before(until) {
			w.changed.Wait()
		}
	}
	n := min(len(w.waiting), maxBatch)
	batch := w.waiting[:n:n]
	w.waiting = w.waiting[n:]
	return batch
}

// wake wakes the goroutines that wait for a change, as a timer or a context has ended.
func (w *Writer[T]) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed.Broadcast()
}
