package store

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// room is what must fit on a disk, in octets, before it is written again that could not be written.
const room = 8 << 20

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
	await func(error) bool // returns when there is sense in another try; false: there is none any more
}

func (p patient) try(write func() error) error {
	for {
		err := write()
		if err == nil || !passes(err) || !p.await(err) {
			return err
		}
	}
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

// awaitDisk is called when the disk cannot be written, and returns when it can: meanwhile reading works, and writing until too
// much waits.
func (e *embedded) awaitDisk(cause error) (again bool) {
	if e.stuck.CompareAndSwap(nil, &cause) {
		e.log.WithError(cause).WithField("folder", e.dir).Error("store waits: the disk cannot be written")
	}
	tick := time.NewTicker(e.flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-e.closing:
			return false
		case <-tick.C:
		}
		if e.writable() {
			return true
		}
	}
}

// writable finds out by writing: free space that statfs tells of may be kept for root, or over a quota.
func (e *embedded) writable() bool {
	e.trying.Lock()
	defer e.trying.Unlock()
	name := filepath.Join(e.dir, "room")
	f, err := e.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return false
	}
	_, err = f.Write(make([]byte, room))
	if err = errors.Join(err, f.Sync(), f.Close(), e.fs.Remove(name)); err != nil {
		return false
	}
	e.stuck.Store(nil)
	return true
}
