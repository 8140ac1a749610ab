package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// embedded is the driver that keeps records in a folder.
//
// A change goes to the buffer. One goroutine, the writer, writes the buffer to the database twice a second. An
// operation looks in the buffer first and then in the database, for which it does not wait longer than its context
// lasts. A lock for each key makes PutNew and Add atomic.
//
// The database is pebble. With bbolt the binary has 31 instead of 40 MB, the daemon takes 30 MiB less memory, and reads are
// three times as fast. But bbolt writes 7 times the bytes, so that a flood of new greylist records took the daemon down. Its
// files never shrink, and its pages have no checksums.
type embedded struct {
	tuning
	dir   string // state folder
	log   *logrus.Entry
	lock  *pebble.Lock // of dir
	clock *recordClock
	keys  keyLocks

	buffer  *buffer
	sweeper sweeper

	dbMu     sync.RWMutex // held while db is used, and for writing while it is set
	db       *pebble.DB   // nil while not open; set by the writer, which reads it without dbMu
	lockFile os.FileInfo  // of db, as it was opened
	cache    *pebble.Cache

	broken     fault // the database gave up, until the next start
	damaged    fault // the database is damaged; the writer will replace it
	unwritable fault // the disk is full or the like; writing is retried
	unsaved    fault // of the last write
	probing    atomic.Bool

	wakeWriter chan struct{}
	closing    chan struct{}
	writer     sync.WaitGroup
}

// tuning is changed by tests.
type tuning struct {
	fs         vfs.FS
	flushEvery time.Duration // between two writes of the buffer
	sweepEvery time.Duration // between two sweeps
	openFor    time.Duration // time for opening the database, after which the store starts without
}

func standardTuning() tuning {
	return tuning{fs: vfs.Default, flushEvery: 500 * time.Millisecond, sweepEvery: 10 * time.Minute, openFor: slowDisk}
}

// slowDisk is the time after which a disk that does not take writes is reported, and not waited for at start and close.
// With half, a busy disk may be reported; with double, a stop of the daemon may take longer than service managers
// allow.
const slowDisk = 5 * time.Second

// openEmbedded opens the database in the state folder.
func openEmbedded(cfg Config, t tuning) (*embedded, error) {
	e := &embedded{
		tuning: t, dir: cfg.Path, log: cfg.Log, clock: newRecordClock(cfg), keys: newKeyLocks(),
		buffer: newBuffer(), wakeWriter: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	if err := os.MkdirAll(cfg.Path, 0o700); err != nil {
		return nil, checks.WithoutCall(err)
	}
	// The lock is on the state folder, because a damaged database is replaced. The system releases it with the process.
	var err error
	if e.lock, err = pebble.LockDirectory(cfg.Path, vfs.Default); err != nil {
		return nil, lockError(cfg.Path, err)
	}
	e.cache = pebble.NewCache(cacheBytes)
	if err := e.start(); err != nil {
		e.cache.Unref()
		return nil, errors.Join(err, e.lock.Close())
	}
	return e, nil
}

// lockError returns the error of a state folder that cannot be locked: its lock file cannot be made, or is locked.
func lockError(dir string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s cannot be written: %w", dir, pe.Err)
	}
	return fmt.Errorf("%s: %w (%w)", dir, errInUse, err)
}

// start opens the database and starts the writer. Opening waits while the disk is full. If that takes too long, start
// returns nil, and the database is opened later.
func (e *embedded) start() error {
	opened, abandoned := make(chan error), make(chan struct{})
	e.writer.Go(func() {
		err := e.openOrReplace()
		select {
		case opened <- err:
			if err != nil {
				return
			}
		case <-abandoned:
			if err != nil {
				_ = e.damage(err) // makes the writer try again
			}
		}
		e.runWriter()
	})
	limit := time.NewTimer(e.openFor)
	defer limit.Stop()
	select {
	case err := <-opened:
		return err
	case <-limit.C:
		close(abandoned)
		return nil
	}
}

func (e *embedded) get(ctx context.Context, key string) ([]byte, bool, error) {
	c, ok, err := e.load(ctx, key)
	if !ok || err != nil {
		return nil, false, err
	}
	return bytes.Clone(c.value), true, nil
}

func (e *embedded) put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return e.keys.with(ctx, key, func() error {
		return e.save(ctx, key, change{value: append([]byte{}, value...), deadline: e.clock.deadline(ttl)})
	})
}

func (e *embedded) putNew(ctx context.Context, key string, value []byte, ttl time.Duration) (stored bool, err error) {
	err = e.keys.with(ctx, key, func() error {
		_, exists, err := e.load(ctx, key)
		if err != nil || exists {
			return err
		}
		stored = true
		return e.save(ctx, key, change{value: append([]byte{}, value...), deadline: e.clock.deadline(ttl)})
	})
	return stored && err == nil, err
}

func (e *embedded) add(ctx context.Context, key string, n int64, ttl time.Duration) (total int64, err error) {
	err = e.keys.with(ctx, key, func() error {
		c, exists, err := e.load(ctx, key)
		switch {
		case err != nil:
			return err
		case exists:
			if total, err = sum(c.value, n); err != nil {
				return err
			}
		case ttl <= 0:
			total = n
			return nil
		default:
			total, c.deadline = n, e.clock.deadline(ttl)
		}
		return e.save(ctx, key, change{value: strconv.AppendInt(nil, total, 10), deadline: c.deadline})
	})
	return total, err
}

func (e *embedded) remove(ctx context.Context, key string) error {
	return e.keys.with(ctx, key, func() error { return e.save(ctx, key, change{}) })
}

// load returns a record that has not expired. The caller must not change its value.
func (e *embedded) load(ctx context.Context, key string) (c change, ok bool, err error) {
	now := e.clock.now()
	c, known, writes := e.buffer.get(key)
	if !known {
		raw, err := query(ctx, e, func(db *pebble.DB) ([]byte, error) { return rawValue(db, key) })
		if err != nil {
			return change{}, false, err
		}
		if raw != nil {
			if c.value, c.deadline, ok = decode(raw); !ok {
				return change{}, false, e.damage(fmt.Errorf("%s: a record of %d bytes", e.folder(), len(raw)))
			}
		}
		e.buffer.cacheRead(key, c, writes)
	}
	return c, c.deadline > now, nil
}

// save adds a change to the buffer.
func (e *embedded) save(ctx context.Context, key string, c change) error {
	if err := e.broken.get(); err != nil {
		return err
	}
	due, err := e.buffer.put(ctx, key, c)
	if due {
		e.wake()
	}
	return err
}

// wake makes the writer run at once.
func (e *embedded) wake() {
	select {
	case e.wakeWriter <- struct{}{}:
	default:
	}
}

// rawValue returns the value of a key in the database, with its deadline, or nil.
func rawValue(db *pebble.DB, key string) ([]byte, error) {
	raw, done, err := db.Get([]byte(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return append([]byte{}, raw...), done.Close()
}

// probe implements driver. It checks that the database can be read, that its folder is still there, and that the buffer has
// room.
func (e *embedded) probe(ctx context.Context) error {
	if e.buffer.isFull() {
		return errors.Join(errSlowDisk, e.degraded())
	}
	if err := e.broken.get(); err != nil {
		return err
	}
	if !e.probing.CompareAndSwap(false, true) {
		return errNoAnswer // do not add one more goroutine each second to those that wait for a disk that hangs
	}
	_, err := await(ctx, func() ([]byte, error) {
		defer e.probing.Store(false)
		return read(e, func(db *pebble.DB) ([]byte, error) {
			if err := e.checkFolder(); err != nil {
				return nil, err
			}
			return rawValue(db, "")
		})
	})
	return err
}

// degraded implements driver: operations work while the buffer has room, but the disk does not take what is in it.
func (e *embedded) degraded() error {
	if err := e.unwritable.get(); err != nil {
		return fmt.Errorf("%s cannot be written: %w", e.dir, err)
	}
	if age := e.buffer.age(); age > slowDisk+e.flushEvery {
		return fmt.Errorf("nothing was written for %s: %w", age.Round(time.Second), errors.Join(errSlowDisk, e.unsaved.get()))
	}
	return nil
}

var errSlowDisk = errors.New("the disk does not keep up")

// size implements driver. The number of records is that of the last sweep.
func (e *embedded) size(ctx context.Context) (records, bytes int64) {
	bytes, err := query(ctx, e, func(db *pebble.DB) (int64, error) { return int64(db.Metrics().DiskSpaceUsage()), nil })
	if err != nil {
		bytes = -1
	}
	return e.sweeper.records.Load(), bytes
}

func (e *embedded) location() string { return e.folder() }

// folder returns the folder of the database.
func (e *embedded) folder() string { return filepath.Join(e.dir, "store") }

// close implements driver. Changes that the disk does not take in time are lost.
func (e *embedded) close() error {
	close(e.closing)
	if err := e.broken.get(); err != nil {
		return err // the writer is blocked forever, see logger.Fatalf
	}
	ctx, cancel := context.WithTimeout(context.Background(), slowDisk)
	defer cancel()
	_, err := await(ctx, func() (struct{}, error) {
		e.writer.Wait()
		return struct{}{}, checks.Protect(e.closeDatabase)
	})
	return err
}

// closeDatabase closes the database and unlocks the folder.
func (e *embedded) closeDatabase() error {
	e.dbMu.Lock()
	defer e.dbMu.Unlock()
	var err error
	if e.db != nil {
		err = e.db.Close()
		e.db = nil
	}
	e.cache.Unref()
	return errors.Join(err, e.unsaved.get(), e.lock.Close())
}
