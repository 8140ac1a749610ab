package store

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"milterd/checks"
)

var (
	errNoAnswer   = errors.New("the disk does not answer")
	errNoDatabase = errors.New("the database is not open yet")
)

// query returns the result of f for the database. If ctx ends before, it returns errNoAnswer, and f continues.
func query[T any](ctx context.Context, e *embedded, f func(*pebble.DB) (T, error)) (T, error) {
	return await(ctx, func() (T, error) { return read(e, f) })
}

// await runs f in a goroutine of its own, so that a disk that hangs does not block a session, and returns its result.
// If ctx ends before, it returns errNoAnswer.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value: value, err: err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, errNoAnswer
	}
}

// read returns the result of f for the database. If f finds damage, the database will be replaced.
func read[T any](e *embedded, f func(*pebble.DB) (T, error)) (value T, err error) {
	if err := e.broken.get(); err != nil {
		return value, err
	}
	err = checks.Protect(func() (err error) {
		e.dbMu.RLock()
		defer e.dbMu.RUnlock()
		if e.db == nil {
			return errNoDatabase
		}
		value, err = f(e.db)
		if err != nil && pebble.IsCorruptionError(err) {
			return e.damage(err) // while dbMu is held: afterwards db may be another database
		}
		return err
	})
	return value, err
}
