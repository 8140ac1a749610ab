package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"milterd/milter/lru"
)

const (
	// batchBytes makes the writer write at once. With half as much, a flood is written in twice as many transactions;
	// with double, in half as many, each of them twice as long.
	batchBytes = 4 << 20

	// maxUnwritten is the size of the buffer in bytes, beyond which an operation that writes has to wait. With half,
	// the store is down after half the time that a disk is full, some 150,000 new records; double takes as much more
	// memory.
	maxUnwritten = 64 << 20

	// readCacheBytes is the size of the cache of reads. With half, fewer clients are served without the database;
	// double takes as much more memory.
	readCacheBytes = 16 << 20
)

// change is the new value of a record, or its deletion. The zero value is a deletion, or says that there is no record.
type change struct {
	value    []byte
	deadline int64 // of recordClock
}

// buffer holds changes until the writer has written them, and caches what the database returned: a read of the database
// needs a goroutine, see await, and takes ten times as long (BenchmarkStore, embedded/new and embedded/present). It is
// safe for concurrent use.
type buffer struct {
	mu      sync.Mutex
	waiting changeSet     // not being written yet
	writing changeSet     // being written
	written chan struct{} // closed and replaced after each write
	reads   *lru.Cache[string, change]
	writes  uint64 // number of completed writes, see cacheRead
}

func newBuffer() *buffer {
	return &buffer{waiting: newChangeSet(), written: make(chan struct{}), reads: lru.New(readCacheBytes, changeBytes)}
}

// get returns what is known about a key without the database. writes is for cacheRead.
func (b *buffer) get(key string) (c change, ok bool, writes uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c, ok = b.unwritten(key); !ok {
		c, ok = b.reads.Get(key)
	}
	return c, ok, b.writes
}

// unwritten returns the last change of a key that the database does not have. The caller holds mu.
func (b *buffer) unwritten(key string) (c change, ok bool) {
	if c, ok = b.waiting.changes[key]; !ok {
		c, ok = b.writing.changes[key]
	}
	return c, ok
}

// cacheRead caches what the database returned for a key after get. It does nothing if the key has changed since, or if a
// write was completed: the database may have been read before it.
func (b *buffer) cacheRead(key string, c change, writes uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, changed := b.unwritten(key); !changed && b.writes == writes {
		b.reads.Set(key, c)
	}
}

// put adds a change. If the buffer is full, it waits until the writer has written a part. due reports whether the
// writer should run now.
func (b *buffer) put(ctx context.Context, key string, c change) (due bool, err error) {
	b.mu.Lock()
	for b.full() {
		written := b.written
		b.mu.Unlock()
		select {
		case <-written:
		case <-ctx.Done():
			return false, fmt.Errorf("%d MiB wait to be written to the disk: %w", maxUnwritten>>20, ctx.Err())
		}
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	b.waiting.add(key, c)
	b.reads.Delete(key)
	return b.waiting.bytes >= batchBytes, nil
}

// full reports whether the buffer is full. The caller holds mu.
func (b *buffer) full() bool { return b.waiting.bytes+b.writing.bytes >= maxUnwritten }

func (b *buffer) isFull() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.full()
}

// beginWrite returns the changes to write. They stay in the buffer until endWrite; if the write fails, the next
// beginWrite returns them again.
func (b *buffer) beginWrite() changeSet {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.writing.changes) == 0 {
		b.writing, b.waiting = b.waiting, newChangeSet()
	}
	return b.writing
}

// endWrite removes the changes of beginWrite, which are in the database now.
func (b *buffer) endWrite() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writing = changeSet{}
	b.writes++
	close(b.written)
	b.written = make(chan struct{})
}

// age returns for how long the oldest change has been in the buffer; 0 if there is none.
func (b *buffer) age() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, set := range []changeSet{b.writing, b.waiting} {
		if len(set.changes) > 0 {
			return time.Since(set.began)
		}
	}
	return 0
}

// withPrefix returns the changes of keys that begin with prefix.
func (b *buffer) withPrefix(prefix string) map[string]change {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := map[string]change{}
	for _, set := range []changeSet{b.writing, b.waiting} { // the later change replaces the earlier one
		for key, c := range set.changes {
			if strings.HasPrefix(key, prefix) {
				found[key] = c
			}
		}
	}
	return found
}

// forgetReads removes what the database returned, when it is replaced.
func (b *buffer) forgetReads() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes++ // what is being read is of the old database
	b.reads.Clear()
}

// changeSet is a set of changes that are written together.
type changeSet struct {
	changes map[string]change
	bytes   int
	began   time.Time // of the first change
}

func newChangeSet() changeSet { return changeSet{changes: map[string]change{}} }

func (s *changeSet) add(key string, c change) {
	if len(s.changes) == 0 {
		s.began = time.Now()
	}
	if old, ok := s.changes[key]; ok {
		s.bytes -= changeBytes(key, old)
	}
	s.changes[key] = c
	s.bytes += changeBytes(key, c)
}

// changeBytes estimates the memory of a change.
func changeBytes(key string, c change) int { return len(key) + len(c.value) + overhead }
