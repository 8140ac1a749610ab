package store

import (
	"errors"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// passing are the failures to write that leave files as they were, and go away: the disk is full, or read-only for now, or
// there are too many open files.
var passing = []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EMFILE, syscall.ENFILE}

func passes(err error) bool {
	return slices.ContainsFunc(passing, func(p error) bool { return errors.Is(err, p) })
}

// patient is a file system on which writing waits as long as it fails in a way that passes. The database would give up for
// good. That syncing failed it has to know: what became of the data is not.
type patient struct {
	vfs.FS
	try func(write func() error) error // untilWritten
}

// open is try for what makes a file.
func (p patient) open(f func() (vfs.File, error)) (file vfs.File, err error) {
	err = p.try(func() error {
		file, err = f()
		return err
	})
	if err != nil {
		return nil, err
	}
	return patientFile{file, p}, nil
}

// Create implements vfs.FS.
func (p patient) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return p.open(func() (vfs.File, error) { return p.FS.Create(name, c) })
}

// OpenReadWrite implements vfs.FS.
func (p patient) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return p.open(func() (vfs.File, error) { return p.FS.OpenReadWrite(name, c, opts...) })
}

// ReuseForWrite implements vfs.FS.
func (p patient) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return p.open(func() (vfs.File, error) { return p.FS.ReuseForWrite(from, to, c) })
}

// Link implements vfs.FS.
func (p patient) Link(from, to string) error {
	return p.try(func() error { return p.FS.Link(from, to) })
}

// Rename implements vfs.FS.
func (p patient) Rename(from, to string) error {
	return p.try(func() error { return p.FS.Rename(from, to) })
}

// MkdirAll implements vfs.FS.
func (p patient) MkdirAll(dir string, perm os.FileMode) error {
	return p.try(func() error { return p.FS.MkdirAll(dir, perm) })
}

// Lock implements vfs.FS.
func (p patient) Lock(name string) (lock io.Closer, err error) {
	err = p.try(func() error {
		lock, err = p.FS.Lock(name)
		return err
	})
	return lock, err
}

// Remove implements vfs.FS.
func (p patient) Remove(name string) error {
	return p.try(func() error { return p.FS.Remove(name) })
}

// patientFile is a file of such a file system.
type patientFile struct {
	vfs.File
	fs patient
}

// Write implements vfs.File.
func (f patientFile) Write(b []byte) (written int, err error) {
	err = f.fs.try(func() error {
		n, err := f.File.Write(b[written:])
		written += n
		return err
	})
	return written, err
}

// untilWritten writes until it succeeds, fails in a way that does not pass, or the store is closed. Meanwhile reading works, and
// writing until too much waits.
func (e *embedded) untilWritten(write func() error) error {
	err := write()
	if !passes(err) {
		return err
	}
	if e.stuck.CompareAndSwap(nil, &err) {
		e.log.WithError(err).WithField("folder", e.dir).Error("store waits: the disk cannot be written")
	}
	tick := time.NewTicker(e.flushEvery)
	defer tick.Stop()
	for passes(err) {
		select {
		case <-e.closing:
			return err
		case <-tick.C:
		}
		err = write()
	}
	e.stuck.Store(nil)
	return err
}
