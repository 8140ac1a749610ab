// Package store keeps the small records that checks remember clients by: in memory, in a folder, or in Redis or Valkey for
// several hosts.
//
//   - memory: lost when the daemon ends, bounded, without any file.
//   - embedded: a folder that one process uses at a time. What was written is on the disk half a second later: a crash of
//     the process, or of the machine, loses no more. A damaged folder is moved aside and an empty one takes its place.
//   - redis: shared by all hosts that use the same server. Adding if absent and counting happen in one step there.
//
// Whatever the driver, an operation takes no longer than Config.Timeout, and none at all while the store is known to be
// down: after three failures in a row every operation returns ErrDown at once, until a probe in the background, each
// second, finds the store well again. Nothing here panics, and nothing here waits for a store without a limit: what a
// check cannot find out is an error, which the pipeline knows how to take.
//
// A key has at most 4 KiB and a value at most 64 KiB, of any octets; both may be empty. A time to live of 0 or less makes a
// record that is gone at once. Expiry is exact to a millisecond, whenever the driver gives the space back.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// Limits of a record, in octets. A key is no longer than what every driver holds well; who has a longer one hashes it, as
// checks do with what came from outside.
const (
	MaxKey   = 4 << 10
	MaxValue = 64 << 10
)

// Errors that tell what happened, for errors.Is.
var (
	// ErrDown is what every operation returns while the store is known not to work.
	ErrDown = errors.New("the store is down")
	// ErrClosed is what every operation returns after Close.
	ErrClosed = errors.New("the store is closed")
	// ErrInUse is what Open returns for a folder that another process has open, or this one.
	ErrInUse = errors.New("in use by another process")
	// ErrTooLong is about a key over MaxKey or a value over MaxValue.
	ErrTooLong = errors.New("too long")
	// ErrNotCounter is about an Add to a record that is not a decimal number of 64 bits, or would not be one afterwards.
	ErrNotCounter = errors.New("not a counter, or one that overflows")
)

// Config is which store to open. The zero value is the embedded one in the current folder.
type Config struct {
	// Driver is "memory", "embedded" or "redis". Empty: embedded.
	Driver string

	// Path is the state folder, for the embedded driver. It is made if there is none. The records are in its subfolder
	// "store"; a damaged one is renamed to "store.damaged-" with the time (UTC) and stays until someone removes it.
	Path string

	// URL is where Redis or Valkey is, for the redis driver:
	// redis://user:password@host:port/db, rediss:// with TLS, unix:///path?db=n; a Redis Cluster is recognised by its answer;
	// ?master_set=name for Sentinels at the address; ?addr=host:port, more than once, for further nodes or Sentinels.
	URL string

	// Timeout bounds every operation; of a Scan, every page of some hundred records. 0: 500 ms.
	Timeout time.Duration

	// MaxRecords and MaxOctets bound the memory driver: keys and values, and 128 octets for each record. Beyond them the
	// records that expire soonest go. 0: a million records, 256 MiB.
	MaxRecords int
	MaxOctets  int64

	// Now is the clock by which records expire; Redis goes by its own. nil: one that nobody moves, see clock.go.
	Now func() time.Time

	// Log is told of outages, their ends, and damage. nil: nobody is.
	Log *logrus.Entry

	wall func() time.Time // what people read
}

// Defaults, see Config.
const (
	defaultTimeout = 500 * time.Millisecond
	defaultRecords = 1_000_000
	defaultOctets  = 256 << 20
)

// driver keeps records. Keys and values are within the limits. Every method returns soon after its context ends, and is
// safe for concurrent use.
type driver interface {
	get(ctx context.Context, key string) ([]byte, bool, error)
	put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	putNew(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error)
	add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error)
	remove(ctx context.Context, key string) error
	// scan returns what yields the next page of records; a page may be empty. It is called until more is false.
	scan(prefix string) func(context.Context) (page []checks.Record, more bool, err error)
	// probe finds out whether records can be read and written, connecting again if need be.
	probe(ctx context.Context) error
	// trouble tells what is wrong although operations work: what they write may be lost in a crash.
	trouble() error
	// size returns how many records there are and how many octets they take, about; -1: unknown.
	size(ctx context.Context) (records, octets int64)
	place() string
	close() error
}

// Store is a checks.Store with a limit on time and a memory for failures. Make it with Open or NewMemory and end it with
// Close. All methods are safe for concurrent use.
type Store struct {
	driver  driver
	timeout time.Duration
	health  *health
}

var _ checks.Store = (*Store)(nil)

// Open opens a store. The error is one of the configuration, of a folder that cannot be made, or ErrInUse. A Redis that does
// not answer is none: the store is then down and recovers by itself. Opening a folder reads what the last half second
// before a crash had left in its log, some MiB at most.
func Open(cfg Config) (*Store, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	var d driver
	switch cfg.Driver {
	case "memory":
		d = newMemory(cfg)
	case "embedded":
		d, err = openEmbedded(cfg, standard())
	case "redis":
		d, err = newRedis(cfg)
	default:
		err = fmt.Errorf("unknown driver %q, want memory, embedded or redis", cfg.Driver)
	}
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return watch(d, cfg), nil
}

// NewMemory is a store in memory with the default limits, for tests. now is as Config.Now. Close ends it.
func NewMemory(now func() time.Time) *Store {
	cfg, _ := Config{Driver: "memory", Now: now}.complete() // nothing in it can be wrong
	return watch(newMemory(cfg), cfg)
}

// complete fills in the defaults.
func (cfg Config) complete() (Config, error) {
	if cfg.Timeout < 0 || cfg.MaxRecords < 0 || cfg.MaxOctets < 0 {
		return cfg, fmt.Errorf("negative setting: timeout %v, %d records, %d octets", cfg.Timeout, cfg.MaxRecords, cfg.MaxOctets)
	}
	cfg.Driver = cmp.Or(cfg.Driver, "embedded")
	cfg.Path = cmp.Or(cfg.Path, ".")
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.MaxRecords = cmp.Or(cfg.MaxRecords, defaultRecords)
	cfg.MaxOctets = cmp.Or(cfg.MaxOctets, defaultOctets)
	cfg.wall = cfg.Now
	if cfg.Now == nil {
		cfg.Now, cfg.wall = steady(), time.Now
	}
	if cfg.Log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		cfg.Log = logrus.NewEntry(silent)
	}
	cfg.Log = cfg.Log.WithField("store", cfg.Driver)
	return cfg, nil
}

// watch makes the store of a driver, and waits for the first probe, no longer than an operation may take.
func watch(d driver, cfg Config) *Store {
	s := &Store{driver: d, timeout: cfg.Timeout, health: newHealth(d, cfg)}
	s.health.start()
	return s
}

// Get implements checks.Store. The value is the caller's.
func (s *Store) Get(ctx context.Context, key string) (value []byte, ok bool, err error) {
	err = s.do(ctx, "get", key, nil, func(ctx context.Context) (err error) {
		value, ok, err = s.driver.get(ctx, key)
		return err
	})
	return value, ok, err
}

// Put implements checks.Store. It keeps a copy of the value.
func (s *Store) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return s.do(ctx, "put", key, value, func(ctx context.Context) error {
		if ttl <= 0 {
			return s.driver.remove(ctx, key)
		}
		return s.driver.put(ctx, key, value, ttl)
	})
}

// PutNew implements checks.Store. It keeps a copy of the value.
func (s *Store) PutNew(ctx context.Context, key string, value []byte, ttl time.Duration) (stored bool, err error) {
	err = s.do(ctx, "put new", key, value, func(ctx context.Context) (err error) {
		if ttl <= 0 {
			_, there, err := s.driver.get(ctx, key)
			stored = err == nil && !there
			return err
		}
		stored, err = s.driver.putNew(ctx, key, value, ttl)
		return err
	})
	return stored, err
}

// Add implements checks.Store. Adding to what Put wrote works if that is a decimal number.
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

// Scan implements checks.Store. The loop may use the store, and may take its time: only the store's own is limited.
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

// Close writes what is not written yet and ends the store. Closing twice does nothing.
func (s *Store) Close() error {
	if !s.health.stop() {
		return nil
	}
	if err := s.driver.close(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// do runs one operation within the limits, unless the store is down.
func (s *Store) do(ctx context.Context, what, key string, value []byte, f func(context.Context) error) error {
	if len(key) > MaxKey || len(value) > MaxValue {
		return fmt.Errorf("store: %s: %w: key of %d octets, value of %d", what, ErrTooLong, len(key), len(value))
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: %s: %w", what, err)
	}
	if err := s.health.admit(); err != nil {
		return fmt.Errorf("store: %s: %w", what, err)
	}
	limited, end := context.WithTimeout(ctx, s.timeout)
	defer end()
	err := safely(func() error { return f(limited) })
	switch {
	case err == nil:
		s.health.succeeded()
		return nil
	case ctx.Err() == nil && !errors.Is(err, ErrNotCounter):
		// Neither the caller's own end nor a fault of the caller is one of the store.
		s.health.failed(err)
	}
	return fmt.Errorf("store: %s: %w", what, err)
}

// safely turns a panic into an error: a fault of a library must not cost the session.
func safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}
