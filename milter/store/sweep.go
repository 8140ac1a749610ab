package store

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// sweeper remembers how far the look for expired records is. The flusher alone uses it, but for records.
//
// A database that merges sorted files gives space back only when it rewrites them. So the records are gone through, in
// small slices, every ten minutes and after much was written; and when a quarter of what was found had expired, all is
// rewritten. Each expired octet so costs at most four to rewrite, and the disk holds, beside the log, the live ones and a
// third more, until the next look; while all is rewritten, the live ones once more.
type sweeper struct {
	records atomic.Int64 // alive at the end of the last look; -1: there was none yet

	at     []byte // where to go on; nil: at rest
	began  time.Time
	ended  time.Time
	live   tally
	dead   tally // since all was rewritten
	kept   tally // what the last look found alive
	writes int64 // since the last look began

	cancel  context.CancelFunc
	rewrite sync.WaitGroup
	busy    atomic.Bool // all is being rewritten
}

type tally struct{ records, octets int64 }

func (t *tally) count(key, raw []byte) {
	t.records++
	t.octets += int64(len(key) + len(raw))
}

const (
	fewWrites = 10_000  // that give no reason for another look
	fewOctets = 1 << 20 // expired ones that give none to rewrite
	sweepStep = 1_000   // records between two glances at the clock
)

// sweep goes on looking for expired records and deletes them, for a moment.
func (e *embedded) sweep() error {
	s := &e.sweeper
	if s.at == nil {
		much := s.writes >= max(fewWrites, s.kept.records/2)
		if !s.began.IsZero() && !much && time.Since(s.ended) < e.sweepEvery {
			return nil
		}
		s.at, s.live, s.writes, s.began = []byte{}, tally{}, 0, time.Now()
	}
	for began := time.Now(); s.at != nil && time.Since(began) < e.sweepFor; {
		if err := e.sweepPart(); err != nil {
			s.at = []byte{} // from the start: what was counted may be wrong
			s.live = tally{}
			return err
		}
	}
	if s.at == nil {
		e.swept()
	}
	return nil
}

// sweepPart looks at some records.
func (e *embedded) sweepPart() error {
	s := &e.sweeper
	it, err := e.db.NewIter(from(s.at))
	if err != nil {
		return err
	}
	defer it.Close()
	batch := e.db.NewBatch()
	defer batch.Close()
	now := e.now().UnixMilli()
	n := 0
	for it.First(); it.Valid() && n < sweepStep; it.Next() {
		n++
		raw, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if string(it.Key()) == clockKey {
			continue
		}
		// What cannot be read as a record is deleted as well.
		if _, expires, _ := decode(raw); expires > now {
			s.live.count(it.Key(), raw)
			continue
		}
		s.dead.count(it.Key(), raw)
		if err := batch.Delete(it.Key(), nil); err != nil {
			return err
		}
	}
	next := []byte(nil)
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
	s.at = next
	return nil
}

// swept ends a look.
func (e *embedded) swept() {
	s := &e.sweeper
	s.kept, s.ended = s.live, time.Now()
	s.records.Store(s.live.records)
	if s.dead.octets < fewOctets || s.dead.octets < (s.live.octets+s.dead.octets)/4 || s.busy.Load() {
		return
	}
	s.dead = tally{}
	s.busy.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	db := e.db
	s.rewrite.Go(func() {
		defer s.busy.Store(false)
		// No key is longer than MaxKey, so none is above this one.
		end := bytes.Repeat([]byte{0xff}, MaxKey+1)
		err := safely(func() error { return db.Compact(ctx, nil, end, false) })
		if err != nil && ctx.Err() == nil {
			e.log.WithError(err).Warn("store cannot give space back")
			if pebble.IsCorruptionError(err) {
				_ = e.damage(err)
			}
		}
	})
}

// stop ends what rewrites the database.
func (s *sweeper) stop() {
	if s.cancel != nil {
		s.cancel()
	}
	s.rewrite.Wait()
}

// reset forgets everything: the database is another one.
func (s *sweeper) reset() {
	s.at, s.began, s.live, s.dead, s.kept, s.writes = nil, time.Time{}, tally{}, tally{}, tally{}, 0
	s.records.Store(-1)
}
