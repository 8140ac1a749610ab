package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/maypok86/otter/v2"
	"github.com/sirupsen/logrus"
)

// embedded is the driver that keeps records in a folder.
//
// What is written goes into a map first, and from there to the database in groups, by one goroutine, twice a second. An
// operation looks into the map, then among the answers that the database gave lately, and then into the database, which it
// never waits for longer than its context lasts: the read goes on alone. A key's lock makes adding-if-absent and counting
// one step.
type embedded struct {
	tuning
	dir  string // the state folder
	log  *logrus.Entry
	lock *pebble.Lock
	ownClock
	seed  maphash.Seed
	locks [256]chan struct{} // one for all keys with the same hash; full: taken

	base  sync.RWMutex // held for writing while db is set or closed
	db    *pebble.DB   // nil: not open yet, or damaged. Set by the goroutine that writes
	cache *pebble.Cache
	// onDisk is where db is, and is set with it.
	onDisk place

	broken  atomic.Pointer[error] // the database has given up for good
	damaged atomic.Pointer[error] // it read what it had not written, and is to be replaced
	stuck   atomic.Pointer[error] // why the disk cannot be written for now
	sweeper sweeper

	known *otter.Cache[string, change] // what the database said, also that it has no record

	probing atomic.Bool // a probe waits for the database

	mu       sync.Mutex
	saves    uint64        // how many changes there were so far
	waiting  group         // not on its way yet
	writing  group         // on its way to the disk
	written  chan struct{} // closed, and made anew, when a group has been written
	writeErr error         // of the last group; nil: it was written

	kick    chan struct{} // there is much to write, or damage
	closing chan struct{}
	flusher sync.WaitGroup
}

// tuning is what tests set otherwise.
type tuning struct {
	fs         vfs.FS
	flushEvery time.Duration // how long a record waits for others
	sweepEvery time.Duration // rest between two looks for expired records
	openFor    time.Duration // how long opening may take, before the store goes on without
}

// standard is the tuning of the real thing.
func standard() tuning {
	return tuning{fs: vfs.Default, flushEvery: 500 * time.Millisecond, sweepEvery: 10 * time.Minute, openFor: late}
}

// group is what is written together.
type group struct {
	changes map[string]change
	octets  int64
	since   time.Time // of the oldest; the time of the process, whatever Config.Now says
}

// change is what becomes of a key.
type change struct {
	value   []byte
	expires int64 // milliseconds since 1970; 0: the record is deleted
}

const (
	groupOctets = 4 << 20         // a group that is written without waiting for more
	mostOctets  = 64 << 20        // unwritten ones together: beyond it who writes has to wait
	late        = 5 * time.Second // that writing may take, before someone is told

	knownOctets = 16 << 20 // of answers that are kept
	mostKnown   = 1 << 10  // octets of a value that is kept: longer ones are for people, who read them once
)

// openEmbedded opens the database in the state folder, or an empty one if it is damaged.
func openEmbedded(cfg Config, t tuning) (*embedded, error) {
	e := &embedded{
		tuning: t, dir: cfg.Path, ownClock: ownClock{host: cfg.Now, wall: cfg.wall}, log: cfg.Log, seed: maphash.MakeSeed(),
		waiting: newGroup(), written: make(chan struct{}), kick: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	for i := range e.locks {
		e.locks[i] = make(chan struct{}, 1)
	}
	if err := os.MkdirAll(cfg.Path, 0o700); err != nil {
		return nil, err
	}
	var err error
	if e.known, err = otter.New(&otter.Options[string, change]{
		MaximumWeight: knownOctets,
		Weigher:       func(key string, c change) uint32 { return uint32(len(key) + len(c.value) + overhead) },
		Executor:      func(f func()) { f() }, // no goroutines to wait for
	}); err != nil {
		return nil, err
	}
	// This lock is of the state folder and stays while the database in it is replaced. The system gives it up when the
	// process ends, however it does.
	if e.lock, err = pebble.LockDirectory(cfg.Path, vfs.Default); err != nil {
		return nil, fmt.Errorf("%s: %w (%w)", cfg.Path, ErrInUse, err)
	}
	e.cache = pebble.NewCache(cacheOctets)
	if err := e.begin(); err != nil {
		e.cache.Unref()
		return nil, errors.Join(err, e.lock.Close())
	}
	return e, nil
}

// begin opens the database and starts to write. Opening may wait for the disk, as long as that is full: then the daemon goes on
// without.
func (e *embedded) begin() error {
	opened, late := make(chan error), make(chan struct{})
	e.flusher.Go(func() {
		err := e.openOrReplace()
		select {
		case opened <- err:
			if err != nil {
				return
			}
		case <-late:
			if err != nil {
				_ = e.damage(err) // to be tried again
			}
		}
		e.run()
	})
	limit := time.NewTimer(e.openFor)
	defer limit.Stop()
	select {
	case err := <-opened:
		return err
	case <-limit.C:
		close(late)
		return nil
	}
}

func newGroup() group { return group{changes: map[string]change{}} }

func (e *embedded) place() string { return e.folder() }

// folder is where the database is.
func (e *embedded) folder() string { return filepath.Join(e.dir, "store") }

func (e *embedded) get(ctx context.Context, key string) ([]byte, bool, error) {
	value, expires, err := e.load(ctx, key)
	if expires == 0 || err != nil {
		return nil, false, err
	}
	return bytes.Clone(value), true, nil
}

func (e *embedded) put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return e.locked(ctx, key, func() error {
		return e.save(ctx, key, append([]byte{}, value...), deadline(e.now(), ttl))
	})
}

func (e *embedded) putNew(ctx context.Context, key string, value []byte, ttl time.Duration) (stored bool, err error) {
	err = e.locked(ctx, key, func() error {
		_, expires, err := e.load(ctx, key)
		if err != nil || expires != 0 {
			return err
		}
		stored = true
		return e.save(ctx, key, append([]byte{}, value...), deadline(e.now(), ttl))
	})
	return stored && err == nil, err
}

func (e *embedded) add(ctx context.Context, key string, n int64, ttl time.Duration) (total int64, err error) {
	err = e.locked(ctx, key, func() error {
		value, expires, err := e.load(ctx, key)
		switch {
		case err != nil:
			return err
		case expires != 0:
			if total, err = sum(value, n); err != nil {
				return err
			}
		case ttl <= 0:
			total = n
			return nil
		default:
			total, expires = n, deadline(e.now(), ttl)
		}
		return e.save(ctx, key, strconv.AppendInt(nil, total, 10), expires)
	})
	return total, err
}

func (e *embedded) remove(ctx context.Context, key string) error {
	return e.locked(ctx, key, func() error { return e.save(ctx, key, nil, 0) })
}

// locked runs f while nobody else changes the key.
func (e *embedded) locked(ctx context.Context, key string, f func() error) error {
	l := e.locks[maphash.String(e.seed, key)%uint64(len(e.locks))]
	select {
	case l <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l }()
	return f()
}

// load returns a record that has not expired; without one, expires is 0. The value must not be changed.
func (e *embedded) load(ctx context.Context, key string) (value []byte, expires int64, err error) {
	now := e.now().UnixMilli()
	c, ok, saves := e.recall(key)
	if !ok {
		// What was written between the two looks is in the database: a group leaves the map after that.
		raw, err := ask(ctx, e, func(db *pebble.DB) ([]byte, error) { return lookup(db, key) })
		if err != nil {
			return nil, 0, err
		}
		if raw != nil {
			if c.value, c.expires, ok = decode(raw); !ok {
				return nil, 0, e.damage(fmt.Errorf("%s: a record of %d octets", e.folder(), len(raw)))
			}
		}
		e.remember(key, c, saves)
	}
	if c.expires <= now {
		return nil, 0, nil
	}
	return c.value, c.expires, nil
}

// recall looks a key up without the database. saves is for remember.
func (e *embedded) recall(key string) (c change, ok bool, saves uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, ok = e.waiting.changes[key]; ok {
		return c, true, e.saves
	}
	if c, ok = e.writing.changes[key]; ok {
		return c, true, e.saves
	}
	c, ok = e.known.GetIfPresent(key)
	return c, ok, e.saves
}

// remember keeps what the database said, unless anything was changed since: it may be out of date then.
func (e *embedded) remember(key string, c change, saves uint64) {
	if len(c.value) > mostKnown {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.saves == saves {
		e.known.Set(key, c)
	}
}

// save notes a change. It waits only if the disk is far behind.
func (e *embedded) save(ctx context.Context, key string, value []byte, expires int64) error {
	if err := e.broken.Load(); err != nil {
		return *err
	}
	e.mu.Lock()
	for e.crowded() {
		written := e.written
		e.mu.Unlock()
		select {
		case <-written:
		case <-ctx.Done():
			return fmt.Errorf("the disk is %d MiB behind: %w", mostOctets>>20, ctx.Err())
		}
		e.mu.Lock()
	}
	defer e.mu.Unlock()
	g := &e.waiting
	if len(g.changes) == 0 {
		g.since = time.Now()
	}
	if old, ok := g.changes[key]; ok {
		g.octets -= int64(len(key) + len(old.value) + overhead)
	}
	g.changes[key] = change{value, expires}
	e.saves++
	if _, ok := e.known.GetIfPresent(key); ok && len(value) <= mostKnown {
		e.known.Set(key, change{value, expires}) // who asked before may ask again
	} else if ok {
		e.known.Invalidate(key)
	}
	g.octets += int64(len(key) + len(value) + overhead)
	if g.octets >= groupOctets {
		e.wake()
	}
	return nil
}

// crowded tells whether there is too much that is not written. The caller holds mu.
func (e *embedded) crowded() bool { return e.waiting.octets+e.writing.octets >= mostOctets }

// wake makes the flusher run at once.
func (e *embedded) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// lookup reads from the database. Without a record it returns nil.
func lookup(db *pebble.DB, key string) ([]byte, error) {
	raw, done, err := db.Get([]byte(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return append([]byte{}, raw...), done.Close()
}

// probe implements driver: the disk is read, it is still the one that was opened, and there is room for what is to be written.
func (e *embedded) probe(ctx context.Context) error {
	e.mu.Lock()
	crowded := e.crowded()
	e.mu.Unlock()
	if crowded {
		return errors.Join(errBehind, e.trouble())
	}
	if err := e.broken.Load(); err != nil {
		return *err
	}
	if !e.probing.CompareAndSwap(false, true) {
		return errNoAnswer // one more each second would be thousands that wait for a disk that hangs
	}
	_, err := await(ctx, func() ([]byte, error) {
		defer e.probing.Store(false)
		return read(e, func(db *pebble.DB) ([]byte, error) {
			if err := e.onDisk.moved(); err != nil {
				return nil, err
			}
			return lookup(db, "")
		})
	})
	return err
}

// trouble implements driver: operations work as long as there is memory for what they write, but the disk is behind.
func (e *embedded) trouble() error {
	if cause := e.stuck.Load(); cause != nil {
		return fmt.Errorf("%s cannot be written: %w", e.dir, *cause)
	}
	return e.overdue()
}

// overdue tells why records are not on the disk yet that should be.
func (e *embedded) overdue() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	g := e.writing
	if len(g.changes) == 0 {
		g = e.waiting
	}
	if len(g.changes) == 0 || time.Since(g.since) < late+e.flushEvery {
		return nil
	}
	return fmt.Errorf("nothing was written for %s: %w", time.Since(g.since).Round(time.Second), errors.Join(errBehind, e.writeErr))
}

var errBehind = errors.New("the disk does not keep up")

// size implements driver. The records are those of the last look for expired ones.
func (e *embedded) size(ctx context.Context) (records, octets int64) {
	octets, err := ask(ctx, e, func(db *pebble.DB) (int64, error) { return int64(db.Metrics().DiskSpaceUsage()), nil })
	if err != nil {
		octets = -1
	}
	return e.sweeper.records.Load(), octets
}

// close implements driver. It waits for the disk some seconds at most: what a daemon cannot write when it ends is lost, but
// it ends.
func (e *embedded) close() error {
	close(e.closing)
	if err := e.broken.Load(); err != nil {
		return *err // who could close it is stuck
	}
	done := make(chan error, 1)
	go func() {
		e.flusher.Wait()
		done <- safely(e.shut)
	}()
	limit := time.NewTimer(late)
	defer limit.Stop()
	select {
	case err := <-done:
		return err
	case <-limit.C:
		return errBehind
	}
}

// shut closes the database and gives the folder back.
func (e *embedded) shut() error {
	e.base.Lock()
	defer e.base.Unlock()
	var err error
	if e.db != nil {
		err = e.db.Close()
		e.db = nil
	}
	e.cache.Unref()
	return errors.Join(err, e.writeErr, e.lock.Close())
}
