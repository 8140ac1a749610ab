package store

import (
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"milterd/checks"
)

// runWriter is the goroutine that writes to the database: the buffer, and the deletions of the sweeper. No other
// goroutine writes, so a record cannot be renewed between the sweeper's read and its deletion.
func (e *embedded) runWriter() {
	tick := time.NewTicker(e.flushEvery)
	defer tick.Stop()
	for {
		closing := false
		select {
		case <-tick.C:
		case <-e.wakeWriter:
		case <-e.closing:
			closing = true
		}
		if err := e.damaged.get(); err != nil {
			e.replace(err)
		}
		err := checks.Protect(e.flush)
		if err == nil && !closing {
			err = checks.Protect(e.sweep)
		}
		e.recordWrite(err)
		if closing {
			return
		}
	}
}

// recordWrite records the result of a write. After a failure the writer tries again with the next tick.
func (e *embedded) recordWrite(err error) {
	if err == nil {
		e.unsaved.clear()
		return
	}
	if pebble.IsCorruptionError(err) {
		_ = e.damage(err)
	}
	if e.unsaved.set(err) {
		e.log.WithError(err).Error("store cannot write")
	}
}

// flush writes the buffer to the database and returns when it is on the disk.
func (e *embedded) flush() error {
	if e.db == nil {
		return errNoDatabase
	}
	set := e.buffer.beginWrite()
	if len(set.changes) == 0 {
		return nil
	}
	batch := e.db.NewBatchWithSize(set.bytes)
	defer batch.Close()
	now := e.clock.now()
	var raw []byte
	for key, c := range set.changes {
		// Not SingleDelete: a record may have been written more than once.
		if c.deadline <= now {
			if err := batch.Delete([]byte(key), nil); err != nil {
				return err
			}
			continue
		}
		raw = encode(raw[:0], c.value, c.deadline)
		if err := batch.Set([]byte(key), raw, nil); err != nil {
			return err
		}
	}
	last := e.clock.deadline(maxTTL)
	if err := errors.Join(setNumber(batch, clockKey, now, last), setNumber(batch, formatKey, format, last)); err != nil {
		return err
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return err
	}
	e.buffer.endWrite()
	return nil
}
