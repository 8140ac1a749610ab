package store

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// temporary are errors of writing that leave the files unchanged and may go away: the disk is full, over a quota or
// mounted read-only, or there are too many open files.
var temporary = []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EMFILE, syscall.ENFILE}

func isTemporary(err error) bool {
	return slices.ContainsFunc(temporary, func(t error) bool { return errors.Is(err, t) })
}

// retry runs write until it does not fail with a temporary error, or until close. Meanwhile reads work, and writes
// until the buffer is full.
func (e *embedded) retry(write func() error) error {
	err := write()
	if !isTemporary(err) {
		return err
	}
	if e.unwritable.set(err) {
		e.log.WithError(err).WithField("folder", e.dir).Error("store waits: the disk cannot be written")
	}
	tick := time.NewTicker(e.flushEvery)
	defer tick.Stop()
	for isTemporary(err) {
		select {
		case <-e.closing:
			return err
		case <-tick.C:
		}
		err = write()
	}
	e.unwritable.clear()
	return err
}

// retryFS is a file system that retries the operations with which an open database writes. If one failed, the database
// would not be usable until the next start. A failed Sync is not retried: the database must know that data may be lost.
type retryFS struct {
	vfs.FS
	retry func(write func() error) error
}

// open retries a function that creates a file.
func (r retryFS) open(f func() (vfs.File, error)) (file vfs.File, err error) {
	err = r.retry(func() error {
		file, err = f()
		return err
	})
	if err != nil {
		return nil, err
	}
	return retryFile{File: file, fs: r}, nil
}

// Create implements vfs.FS.
func (r retryFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return r.open(func() (vfs.File, error) { return r.FS.Create(name, c) })
}

// ReuseForWrite implements vfs.FS.
func (r retryFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return r.open(func() (vfs.File, error) { return r.FS.ReuseForWrite(from, to, c) })
}

// Remove implements vfs.FS.
func (r retryFS) Remove(name string) error {
	return r.retry(func() error { return r.FS.Remove(name) })
}

// retryFile is a file of a retryFS.
type retryFile struct {
	vfs.File
	fs retryFS
}

// Preallocate implements vfs.File. It allocates nothing: otherwise the log takes the size of a memtable from its first byte on. On
// a small disk that leaves no room for the files that replace the log at the next start, so the store never recovers. The
// price is that each sync, two in a second, writes the file's metadata too.
func (f retryFile) Preallocate(int64, int64) error { return nil }

// Write implements vfs.File.
func (f retryFile) Write(b []byte) (written int, err error) {
	err = f.fs.retry(func() error {
		n, err := f.File.Write(b[written:])
		written += n
		return err
	})
	return written, err
}
