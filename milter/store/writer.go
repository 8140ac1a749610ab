package store

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// run is the one goroutine that writes to the database: groups of changes, and the deletion of what has expired. Since
// nobody else writes, a record that it finds expired cannot be renewed before it is deleted.
func (e *embedded) run() {
	tick := time.NewTicker(e.flushEvery)
	defer tick.Stop()
	for {
		closing := false
		select {
		case <-tick.C:
		case <-e.kick:
		case <-e.closing:
			closing = true
		}
		if cause := e.damaged.Load(); cause != nil {
			e.replace(*cause)
		}
		err := safely(e.flush)
		if err == nil && !closing {
			err = safely(e.sweep)
		}
		e.wrote(err)
		if closing {
			return
		}
	}
}

// wrote notes how writing went. What was not written is tried again at the next tick.
func (e *embedded) wrote(err error) {
	if err != nil && pebble.IsCorruptionError(err) {
		_ = e.damage(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil && e.writeErr == nil {
		e.log.WithError(err).Error("store cannot write")
	}
	e.writeErr = err
}

// flush writes what waits, and is back when the disk has it.
func (e *embedded) flush() error {
	if e.db == nil {
		return errNoDatabase
	}
	e.mu.Lock()
	if len(e.writing.changes) == 0 {
		e.writing, e.waiting = e.waiting, newGroup()
	}
	g := e.writing
	e.mu.Unlock()
	if len(g.changes) == 0 {
		return nil
	}
	batch := e.db.NewBatchWithSize(int(g.octets))
	defer batch.Close()
	now := e.now().UnixMilli()
	var raw []byte
	for key, c := range g.changes {
		// A record is deleted with an ordinary tombstone, since it may have been written more than once.
		if c.expires <= now {
			if err := batch.Delete([]byte(key), nil); err != nil {
				return err
			}
			continue
		}
		raw = encode(raw[:0], c.value, c.expires)
		if err := batch.Set([]byte(key), raw, nil); err != nil {
			return err
		}
	}
	if err := e.note(batch); err != nil {
		return err
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writing = group{}
	close(e.written)
	e.written = make(chan struct{})
	return nil
}
