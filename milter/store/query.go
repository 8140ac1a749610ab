package store

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

var (
	errNoAnswer   = errors.New("the disk does not answer")
	errNoDatabase = errors.New("the database is not open yet")
)

// read runs f on the database.
func read[T any](e *embedded, f func(*pebble.DB) (T, error)) (value T, err error) {
	if err := e.broken.Load(); err != nil {
		return value, *err
	}
	err = safely(func() (err error) {
		e.base.RLock()
		defer e.base.RUnlock()
		if e.db == nil {
			return errNoDatabase
		}
		value, err = f(e.db)
		if err != nil && pebble.IsCorruptionError(err) {
			return e.damage(err) // under the lock: another database may take its place afterwards
		}
		return err
	})
	return value, err
}

// await runs f in a goroutine of its own, and waits for it no longer than the context lasts: a disk that hangs must not make a
// session wait. f goes on after that, for nobody.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, errNoAnswer
	}
}

// ask is read for no longer than the context lasts.
func ask[T any](ctx context.Context, e *embedded, f func(*pebble.DB) (T, error)) (T, error) {
	return await(ctx, func() (T, error) { return read(e, f) })
}
