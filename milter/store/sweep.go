package store

import (
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// sweeper remembers how far the look for expired records is. The flusher alone uses it, but for records.
//
// All records are gone through in small steps, with a rest between two looks. What is deleted the database gives back to the disk by
// itself, when it merges its files.
type sweeper struct {
	records atomic.Int64 // alive at the end of the last look; -1: there was none yet

	at    []byte // where to go on; nil: at rest
	live  int64  // found so far
	ended time.Time
}

// sweepStep is how many records are looked at after each flush, which takes some ten milliseconds. Half of it makes a look at a
// million records last 100 s instead of 50; twice of it delays writing twice as long.
const sweepStep = 10_000

// sweep goes on looking for expired records and deletes them.
func (e *embedded) sweep() error {
	s := &e.sweeper
	if s.at == nil {
		if time.Since(s.ended) < e.sweepEvery {
			return nil
		}
		s.at, s.live = []byte{}, 0
	}
	it, err := e.db.NewIter(from(s.at))
	if err != nil {
		return err
	}
	defer it.Close()
	batch := e.db.NewBatch()
	defer batch.Close()
	now, live := e.now().UnixMilli(), int64(0)
	it.First()
	for n := 0; it.Valid() && n < sweepStep; n++ {
		raw, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		_, expires, _ := decode(raw) // what is no record has expired
		switch {
		case string(it.Key()) == clockKey:
		case expires > now:
			live++
		default:
			if err := batch.Delete(it.Key(), nil); err != nil {
				return err
			}
		}
		it.Next()
	}
	var next []byte
	if it.Valid() {
		next = append([]byte{}, it.Key()...)
	}
	if err := it.Error(); err != nil {
		return err
	}
	if !batch.Empty() {
		// Nothing is lost with a deletion that a crash undoes, so the disk need not confirm it.
		if err := batch.Commit(pebble.NoSync); err != nil {
			return err
		}
	}
	s.at, s.live = next, s.live+live
	if next == nil {
		s.ended = time.Now()
		s.records.Store(s.live)
	}
	return nil
}

// reset forgets everything: the database is another one.
func (s *sweeper) reset() {
	s.at, s.live, s.ended = nil, 0, time.Time{}
	s.records.Store(-1)
}
