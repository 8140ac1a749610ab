package store

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

const (
	cacheOctets = 32 << 20
	memtable    = 4 << 20 // the log has up to some times as much
)

// options are for small records that are looked for in vain most of the time.
func (e *embedded) options() *pebble.Options {
	o := &pebble.Options{
		FS:           patient{e.fs, e.untilWritten},
		Cache:        e.cache,
		MemTableSize: memtable,
		Logger:       logger{e},
		// Without this the database takes damage, which may well be in one old file, for its own end.
		EventListener: &pebble.EventListener{DataCorruption: func(info pebble.DataCorruptionInfo) { _ = e.damage(info.Details) }},
	}
	// Ten bits a key: of a hundred triplets never seen before, 99 are known to be new without a look at the disk.
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// openOrReplace opens the database. A damaged one is moved aside for an empty one.
func (e *embedded) openOrReplace() error {
	err := e.openDB()
	if err == nil || !isDamage(err) {
		return err
	}
	if err := e.moveAside(err); err != nil {
		return err
	}
	return e.openDB()
}

func (e *embedded) openDB() error {
	var db *pebble.DB
	if err := safely(func() (err error) {
		db, err = pebble.Open(e.folder(), e.options())
		return err
	}); err != nil {
		return fmt.Errorf("%s: %w", e.folder(), err)
	}
	if err := safely(func() error { return e.resume(db) }); err != nil {
		return fmt.Errorf("%s: %w", e.folder(), errors.Join(err, safely(db.Close)))
	}
	e.sweeper.reset()
	onDisk := placeOf(e.dir, e.folder())
	e.base.Lock()
	defer e.base.Unlock()
	e.db, e.onDisk = db, onDisk
	return nil
}

// isDamage tells the faults of the files from those of the system, such as a lack of rights or of room: moving the files
// aside would mend none of these, and lose everything. A file that is missing is damage.
func isDamage(err error) bool {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno == syscall.ENOENT || errno == syscall.ENOTDIR || errno == syscall.EISDIR
	}
	return true
}

// moveAside renames the folder of the database.
func (e *embedded) moveAside(cause error) error {
	name := e.folder() + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	aside := name
	for i := 1; exists(aside); i++ {
		aside = name + "-" + strconv.Itoa(i)
	}
	if err := os.Rename(e.folder(), aside); err != nil {
		return fmt.Errorf("%w; and it cannot be moved aside: %w", cause, err)
	}
	e.log.WithError(cause).WithField("moved_to", aside).Error("store is damaged, beginning with an empty one")
	return nil
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, os.ErrNotExist)
}

// damage notes that the database is to be replaced, and returns the error.
func (e *embedded) damage(err error) error {
	e.damaged.CompareAndSwap(nil, &err)
	e.wake()
	return err
}

// replace puts an empty database in the place of a damaged one. What waits to be written goes into it.
func (e *embedded) replace(cause error) {
	if e.take() {
		if err := e.moveAside(cause); err != nil {
			e.log.WithError(err).Error("store is damaged")
		}
	}
	e.forget()
	if err := e.openOrReplace(); err != nil {
		e.log.WithError(err).Error("store cannot begin anew")
		return // and tries again at the next tick
	}
	e.damaged.Store(nil)
}

// take closes a damaged database. It tells whether there was one.
func (e *embedded) take() bool {
	e.base.Lock()
	defer e.base.Unlock()
	if e.db == nil {
		return false
	}
	// Closing complains about the damage, which is known.
	_ = safely(e.db.Close)
	e.db = nil
	return true
}

// forget drops what a database said that is no more.
func (e *embedded) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.saves++
	e.known.InvalidateAll()
}

// logger is what the database tells its troubles.
type logger struct{ *embedded }

// Infof implements pebble.Logger. Its steps are of no use to an operator.
func (l logger) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (l logger) Errorf(format string, args ...any) {
	l.log.WithError(fmt.Errorf(format, args...)).Error("store has trouble")
}

// Fatalf implements pebble.Logger. The database calls it when its log or its list of files cannot be written, in whatever
// state it is then, and relies on it not to return. It would end the process; but mail must not suffer from a broken disk.
// So the goroutine ends here, with the locks it holds, and nobody asks the database again until the daemon is restarted.
func (l logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("%s is given up until the next start: %w", l.folder(), fmt.Errorf(format, args...))
	if l.broken.CompareAndSwap(nil, &err) {
		l.log.WithError(err).Error("store is broken")
	}
	select {}
}
