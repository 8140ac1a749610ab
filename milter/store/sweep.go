package store

import (
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// sweeper deletes expired records. It goes through all records in small steps and then rests for tuning.sweepEvery. The
// database compacts its files by itself where many records were deleted. Only the writer uses the sweeper, except
// records.
type sweeper struct {
	records atomic.Int64 // found by the last sweep, not expired; -1: unknown

	next  []byte // key where the sweep continues; nil: it rests
	found int64  // records so far, not expired
	ended time.Time
}

// sweepStep is the number of records that are read after each flush, in about 10 ms. With half, a sweep of a million
// records takes 100 s instead of 50; with double, flushes are delayed by 20 ms.
const sweepStep = 10_000

// sweep does the next step of a sweep, if it is not at rest.
func (e *embedded) sweep() error {
	s := &e.sweeper
	if s.next == nil {
		if time.Since(s.ended) < e.sweepEvery {
			return nil
		}
		s.next, s.found = []byte{}, 0
	}
	batch := e.db.NewBatch()
	defer batch.Close()
	next, found, err := e.sweepFrom(s.next, batch)
	if err != nil {
		return err
	}
	if !batch.Empty() {
		if err := batch.Commit(pebble.NoSync); err != nil { // after a crash they are deleted again
			return err
		}
	}
	s.next, s.found = next, s.found+found
	if next == nil {
		s.ended = time.Now()
		s.records.Store(s.found)
	}
	return nil
}

// sweepFrom adds the deletions of the next expired records to batch. It returns the key to continue with, nil after the
// last one, and the number of records that have not expired.
func (e *embedded) sweepFrom(key []byte, batch *pebble.Batch) (next []byte, found int64, err error) {
	it, err := e.db.NewIter(fromKey(key))
	if err != nil {
		return nil, 0, err
	}
	defer it.Close()
	now := e.clock.now()
	it.First()
	for n := 0; it.Valid() && n < sweepStep; n++ {
		raw, err := it.ValueAndErr()
		if err != nil {
			return nil, 0, err
		}
		_, deadline, _ := decode(raw) // 0 if it is no record: it is deleted
		switch {
		case isReserved(string(it.Key())):
		case deadline > now:
			found++
		default:
			if err := batch.Delete(it.Key(), nil); err != nil {
				return nil, 0, err
			}
		}
		it.Next()
	}
	if it.Valid() {
		next = append([]byte{}, it.Key()...)
	}
	return next, found, it.Error()
}

// reset makes the next sweep start at once, in another database.
func (s *sweeper) reset() {
	s.next, s.found, s.ended = nil, 0, time.Time{}
	s.records.Store(-1)
}
