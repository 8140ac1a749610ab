// Package store implements checks.Store: small records that expire, in memory, in a folder, or in Redis or Valkey.
//
//   - memory: bounded; lost when the daemon ends.
//   - embedded: a folder used by one process at a time. A record is on the disk half a second after it was written; a
//     crash of the process or the machine loses no more. A damaged database is renamed and replaced by an empty one.
//   - redis: shared by all hosts that use the server.
//
// No operation takes longer than Config.Timeout. After more than two failures in a row every operation fails at
// once, until a probe, which runs in the background each second, succeeds. An operation never panics.
//
// A key has at most 4 KiB and a value at most 64 KiB; both may be empty. A record with a time to live of 0 or less
// expires at once. Records expire with a resolution of a millisecond.
//
// Start at Store.do, which runs each operation of a driver; the drivers are memory.go, embedded.go and redis.go. The
// tests of all drivers are in checks/checktest/storetest.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"milterd/checks"
)

var (
	// errClosed is returned by all operations after Close.
	errClosed = errors.New("the store is closed")
	// errInUse is returned by Open for a folder that a process uses, which may be this one.
	errInUse = errors.New("in use by another process")
	// errNotCounter is returned by Add if the record is not a decimal number, or if the sum would overflow 64 bits.
	errNotCounter = errors.New("not a counter, or an overflow")
)

// driver stores records. Keys and values are within the limits. All methods return soon after their context ends and
// are safe for concurrent use.
type driver interface {
	get(ctx context.Context, key string) ([]byte, bool, error)
	put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	putNew(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error)
	add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error)
	remove(ctx context.Context, key string) error
	// scan returns a function that returns the next page of records. A page may be empty. more is false after the last.
	scan(prefix string) func(context.Context) (page []checks.Record, more bool, err error)
	// probe checks whether records can be read and written, and connects again if necessary.
	probe(ctx context.Context) error
	// degraded returns the fault of a store whose operations work, but whose recent changes would be lost in a crash.
	degraded() error
	// size returns the approximate number of records and their size in bytes; -1 is unknown.
	size(ctx context.Context) (records, bytes int64)
	// location returns the folder, or the address without the password.
	location() string
	close() error
}

// Store is a checks.Store that limits the time of each operation and fails at once while its driver is down. Open and
// NewMemory return one; Close must be called to release it. All methods are safe for concurrent use.
type Store struct {
	driver  driver
	timeout time.Duration
	breaker *breaker
}

var _ checks.Store = (*Store)(nil)

// Open opens a store. An error is about the configuration or the folder, which another process may use. If a Redis server does not
// answer, Open returns a store that is down and that recovers by itself.
func Open(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	var d driver
	var err error
	switch cfg.Driver {
	case "memory":
		d = newMemory(cfg)
	case "embedded":
		d, err = openEmbedded(cfg, standardTuning())
	case "redis":
		d, err = newRedis(cfg)
	default:
		err = fmt.Errorf("unknown driver %q, want memory, embedded or redis", cfg.Driver)
	}
	if err != nil {
		return nil, err
	}
	return newStore(d, cfg), nil
}

// NewMemory returns a store in memory with the default limits. now is as Config.Now.
func NewMemory(now func() time.Time) *Store {
	cfg := Config{Driver: "memory", Now: now}.withDefaults()
	return newStore(newMemory(cfg), cfg)
}

// newStore returns a store after its first probe, or after Config.Timeout.
func newStore(d driver, cfg Config) *Store {
	s := &Store{driver: d, timeout: cfg.Timeout, breaker: newBreaker(d, cfg)}
	s.breaker.start()
	return s
}

// Get implements checks.Store. The caller may change the value.
func (s *Store) Get(ctx context.Context, key string) (value []byte, ok bool, err error) {
	err = s.do(ctx, "get", key, nil, func(ctx context.Context) (err error) {
		value, ok, err = s.driver.get(ctx, key)
		return err
	})
	return value, ok, err
}

// Put implements checks.Store. It does not retain value.
func (s *Store) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return s.do(ctx, "put", key, value, func(ctx context.Context) error {
		if ttl <= 0 {
			return s.driver.remove(ctx, key)
		}
		return s.driver.put(ctx, key, value, ttl)
	})
}

// PutNew implements checks.Store. It does not retain value.
func (s *Store) PutNew(ctx context.Context, key string, value []byte, ttl time.Duration) (stored bool, err error) {
	err = s.do(ctx, "put new", key, value, func(ctx context.Context) (err error) {
		if ttl <= 0 {
			_, exists, err := s.driver.get(ctx, key)
			stored = err == nil && !exists
			return err
		}
		stored, err = s.driver.putNew(ctx, key, value, ttl)
		return err
	})
	return stored, err
}

// Add implements checks.Store. A record that Put wrote is a counter if it is a decimal number.
func (s *Store) Add(ctx context.Context, key string, n int64, ttl time.Duration) (total int64, err error) {
	err = s.do(ctx, "add", key, nil, func(ctx context.Context) (err error) {
		total, err = s.driver.add(ctx, key, n, ttl)
		return err
	})
	return total, err
}

// Delete implements checks.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	return s.do(ctx, "delete", key, nil, func(ctx context.Context) error { return s.driver.remove(ctx, key) })
}

// Scan implements checks.Store. The body of the loop may use the store and is not limited in time.
func (s *Store) Scan(ctx context.Context, prefix string) iter.Seq2[checks.Record, error] {
	return func(yield func(checks.Record, error) bool) {
		next := s.driver.scan(prefix)
		for more := true; more; {
			var page []checks.Record
			err := s.do(ctx, "scan", prefix, nil, func(ctx context.Context) (err error) {
				page, more, err = next(ctx)
				return err
			})
			if err != nil {
				yield(checks.Record{}, err)
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// Close writes all changes and closes the store. It may be called more than once.
func (s *Store) Close() error {
	if !s.breaker.stop() {
		return nil
	}
	if err := s.driver.close(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// do runs one operation with the time limit, unless the store is down.
func (s *Store) do(ctx context.Context, operation, key string, value []byte, f func(context.Context) error) error {
	if len(key) > checks.MaxKey || len(value) > checks.MaxValue {
		return fmt.Errorf("store: %s: too long: key of %d bytes, value of %d", operation, len(key), len(value))
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: %s: %w", operation, err)
	}
	if err := s.breaker.admit(); err != nil {
		return fmt.Errorf("store: %w", err) // not the operation: checks with the same error share a line of the log
	}
	limited, cancel := checks.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := checks.Protect(func() error { return f(limited) })
	switch {
	case err == nil:
		s.breaker.succeeded()
		return nil
	case ctx.Err() == nil && !errors.Is(err, errNotCounter): // the caller's context or argument is no fault of the store
		s.breaker.failed(err, false)
	}
	return fmt.Errorf("store: %s: %w", operation, err)
}
