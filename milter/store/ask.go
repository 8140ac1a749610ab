package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// ask runs f on the database, and waits for it no longer than the context lasts. f goes on after that, for nobody.
func ask[T any](ctx context.Context, e *embedded, f func(*pebble.DB) (T, error)) (T, error) {
	if err := e.broken.Load(); err != nil {
		var none T
		return none, *err
	}
	return await(ctx, e, launch(e, f))
}

// said is what became of something that was run on the database.
type said[T any] struct {
	value T
	err   error
}

// launch runs f on the database, and does not wait for it.
func launch[T any](e *embedded, f func(*pebble.DB) (T, error)) <-chan said[T] {
	done := make(chan said[T], 1)
	go func() {
		var r said[T]
		r.err = safely(func() (err error) {
			e.base.RLock()
			defer e.base.RUnlock()
			if e.db == nil {
				return errNoDatabase
			}
			r.value, err = f(e.db)
			return err
		})
		done <- r
	}()
	return done
}

// await waits for what was launched, no longer than the context lasts.
func await[T any](ctx context.Context, e *embedded, done <-chan said[T]) (T, error) {
	var none T
	late, stop := deadlineOf(ctx)
	defer stop()
	select {
	case r := <-done:
		if r.err != nil && pebble.IsCorruptionError(r.err) {
			return none, e.damage(r.err)
		}
		return r.value, r.err
	case <-late:
		return none, errNoAnswer
	}
}

var errNoAnswer = errors.New("the disk does not answer")

// timers are those that wait for nothing now.
var timers sync.Pool

// deadlineOf waits for the deadline of a context, which Store sets for all, but not for its end by others: that would cost more
// than the most reads.
func deadlineOf(ctx context.Context) (late <-chan time.Time, stop func()) {
	at, ok := ctx.Deadline()
	if !ok {
		return nil, func() {}
	}
	t, ok := timers.Get().(*time.Timer)
	if ok {
		t.Reset(time.Until(at))
	} else {
		t = time.NewTimer(time.Until(at))
	}
	return t.C, func() {
		t.Stop()
		timers.Put(t)
	}
}
