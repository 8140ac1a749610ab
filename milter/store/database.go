package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"milterd/checks"
)

const (
	// cacheBytes is the size of the block cache. With half, more reads go to the disk; double takes as much more memory.
	cacheBytes = 32 << 20

	// memtableBytes is the size of a memtable; the log has up to some times as much. With half, a flood is compacted
	// more often; with double, opening after a crash reads twice as much.
	memtableBytes = 4 << 20
)

// openOrReplace opens the database. If it is damaged, it renames it and opens an empty one. While the disk cannot be
// written, it waits.
func (e *embedded) openOrReplace() error {
	err := e.retry(e.openDatabase)
	if err == nil || !isDamage(err) {
		return err
	}
	if err := e.renameDamaged(err); err != nil {
		return err
	}
	return e.retry(e.openDatabase)
}

func (e *embedded) openDatabase() error {
	var db *pebble.DB
	if err := checks.Protect(func() (err error) {
		db, err = pebble.Open(e.folder(), e.options())
		return err
	}); err != nil {
		return fmt.Errorf("%s: %w", e.folder(), newerDatabase(err))
	}
	var lockFile os.FileInfo
	if err := checks.Protect(func() (err error) {
		lockFile, err = os.Stat(e.lockName())
		return errors.Join(err, checkFormat(db), e.clock.resume(db))
	}); err != nil {
		return fmt.Errorf("%s: %w", e.folder(), errors.Join(err, checks.Protect(db.Close)))
	}
	e.sweeper.reset()
	e.dbMu.Lock()
	defer e.dbMu.Unlock()
	e.db, e.lockFile = db, lockFile
	return nil
}

// lockName returns the name of the lock file of the database.
func (e *embedded) lockName() string { return filepath.Join(e.folder(), "LOCK") }

// checkFolder returns an error if the folder of the database was removed or replaced. Deleted files can still be written
// while they are open, and what is written to them is lost.
func (e *embedded) checkFolder() error {
	now, err := os.Stat(e.lockName())
	if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(e.lockFile, now) {
		return fmt.Errorf("%s was removed or replaced under the running daemon: what it writes is lost; restart it", e.folder())
	}
	return err
}

// options are for small records, most of which do not exist when they are read.
func (e *embedded) options() *pebble.Options {
	o := &pebble.Options{
		FS:           retryFS{FS: e.fs, retry: e.retry},
		Cache:        e.cache,
		MemTableSize: memtableBytes,
		// Not the default, which changes with the library: an older version could not read it.
		FormatMajorVersion: pebble.FormatFlushableIngest,
		Logger:             logger{embedded: e},
		// By default the database exits when it finds damage, even in one old file.
		EventListener: &pebble.EventListener{DataCorruption: func(info pebble.DataCorruptionInfo) { _ = e.damage(info.Details) }},
	}
	// With 10 bits a key, one in a hundred reads of a missing record goes to the disk.
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// isDamage reports whether the error of an open is about damage or missing files. A store of a later version is none, nor is an error
// of the system, such as missing rights: to rename the folder would lose the records and help nothing.
func isDamage(err error) bool {
	if errors.Is(err, errNewerFormat) {
		return false
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno == syscall.ENOENT || errno == syscall.ENOTDIR || errno == syscall.EISDIR
	}
	return true
}

// renameDamaged renames the folder of the database.
func (e *embedded) renameDamaged(cause error) error {
	name := e.folder() + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	unused := name
	for i := 1; exists(unused); i++ {
		unused = name + "-" + strconv.Itoa(i)
	}
	if err := os.Rename(e.folder(), unused); err != nil {
		return fmt.Errorf("%w; and it cannot be renamed: %w", cause, err)
	}
	e.log.WithError(cause).WithField("moved_to", unused).Error("store is damaged, an empty one replaces it")
	return nil
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, os.ErrNotExist)
}

// damage makes the writer replace the database. It returns err.
func (e *embedded) damage(err error) error {
	e.damaged.set(err)
	e.wake()
	return err
}

// replace replaces a damaged database by an empty one. The changes in the buffer are kept.
func (e *embedded) replace(cause error) {
	if e.dropDatabase() {
		if err := e.renameDamaged(cause); err != nil {
			e.log.WithError(err).Error("store is damaged")
		}
	}
	e.buffer.forgetReads()
	if err := e.openOrReplace(); err != nil {
		e.log.WithError(err).Error("store cannot replace a damaged database")
		return // the writer tries again with the next tick
	}
	e.damaged.clear()
}

// dropDatabase closes a damaged database. It reports whether one was open.
func (e *embedded) dropDatabase() bool {
	e.dbMu.Lock()
	defer e.dbMu.Unlock()
	if e.db == nil {
		return false
	}
	_ = checks.Protect(e.db.Close) // fails because of the damage
	e.db = nil
	return true
}

// logger is the pebble.Logger of the database.
type logger struct{ *embedded }

// Infof implements pebble.Logger. The messages are of no use to an operator.
func (l logger) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (l logger) Errorf(format string, args ...any) {
	l.log.WithError(fmt.Errorf(format, args...)).Error("store: error of the database")
}

// Fatalf implements pebble.Logger. The database calls it when its log or its list of files cannot be written, and
// relies on it not to return. To keep the daemon running, it blocks forever, with the locks that the goroutine holds,
// and the database is not used again until the daemon is restarted.
func (l logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("%s cannot be used until the next start: %w", l.folder(), fmt.Errorf(format, args...))
	if l.broken.set(err) {
		l.log.WithError(err).Error("store is broken")
	}
	select {}
}
