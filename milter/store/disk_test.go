package store

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"milterd/checks"
	"milterd/milter/miltertest"
)

// failingFS returns a file system whose writes fail while an error is set. Syncs fail too, unless the error is
// temporary.
func failingFS(fault *atomic.Pointer[error]) vfs.FS {
	return errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		syncs := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
		if err := fault.Load(); err != nil && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && !(syncs && isTemporary(*err)) {
			return *err
		}
		return nil
	}))
}

// TestUnwritableDisk tests that the store works from memory while the disk cannot be written, reports that, and writes
// later.
func TestUnwritableDisk(t *testing.T) {
	t.Parallel()
	for name, errno := range map[string]error{
		"full": syscall.ENOSPC, "over its quota": syscall.EDQUOT, "read-only": syscall.EROFS, "too many open files": syscall.EMFILE,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var fault atomic.Pointer[error]
			dir := t.TempDir()
			s := openTuned(t, Config{Path: dir}, func(tune *tuning) {
				fast(tune)
				tune.fs = failingFS(&fault)
			})
			ctx := t.Context()
			fault.Store(&errno)
			for i := range 1000 {
				if err := s.Put(ctx, strconv.Itoa(i), make([]byte, 1000), time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			miltertest.Eventually(t, "the fault is reported", func() bool { return s.healthy() != nil })
			if st := s.Status(); st.OK || !strings.Contains(st.Error, errno.Error()) {
				t.Errorf("got %+v", st)
			}
			if _, ok, err := s.Get(ctx, "999"); !ok || err != nil {
				t.Errorf("got %t, %v", ok, err)
			}
			fault.Store(nil)
			miltertest.Eventually(t, "the fault is over", func() bool { return s.healthy() == nil && settled(s) })
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, Config{Path: dir})
			if _, ok, err := s.Get(ctx, "999"); !ok || err != nil {
				t.Errorf("after opening again: got %t, %v", ok, err)
			}
		})
	}
}

// TestOpenOnFullDisk tests that the store starts without its database, is down, and recovers when there is room.
func TestOpenOnFullDisk(t *testing.T) {
	t.Parallel()
	var fault atomic.Pointer[error]
	full := error(syscall.ENOSPC)
	fault.Store(&full)
	s := openTuned(t, Config{Path: t.TempDir()}, func(tune *tuning) {
		fast(tune)
		tune.fs, tune.openFor = failingFS(&fault), 10*time.Millisecond
	})
	miltertest.Eventually(t, "the store is down", func() bool { return errors.Is(s.healthy(), checks.ErrStoreDown) })
	if err := s.Put(t.Context(), "a", []byte("1"), time.Hour); !errors.Is(err, checks.ErrStoreDown) {
		t.Errorf("put: %v", err)
	}
	fault.Store(nil)
	miltertest.Eventually(t, "the store is up", func() bool { return s.healthy() == nil })
	if err := s.Put(t.Context(), "a", []byte("1"), time.Hour); err != nil {
		t.Error(err)
	}
	miltertest.Eventually(t, "all is written", func() bool { return settled(s) })
}

// allocatingFS is a file system that counts what is allocated before it is written.
type allocatingFS struct {
	vfs.FS
	allocated *atomic.Int64
}

func (a allocatingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := a.FS.Create(name, c)
	return allocatingFile{f, a.allocated}, err
}

type allocatingFile struct {
	vfs.File
	allocated *atomic.Int64
}

func (f allocatingFile) Preallocate(offset, length int64) error {
	f.allocated.Add(length)
	return f.File.Preallocate(offset, length)
}

// TestSmallDisk tests that the database takes no more of the disk than what it writes: its log must not fill a small disk, or there
// is no room for what replaces it at the next start.
func TestSmallDisk(t *testing.T) {
	t.Parallel()
	var allocated atomic.Int64
	s := openTuned(t, Config{Path: t.TempDir()}, func(tune *tuning) {
		fast(tune)
		tune.fs = allocatingFS{vfs.Default, &allocated}
	})
	for i := range 3 {
		if err := s.Put(t.Context(), strconv.Itoa(i), []byte("1"), time.Hour); err != nil {
			t.Fatal(err)
		}
		miltertest.Eventually(t, "the record is written", func() bool { return settled(s) })
	}
	if n := allocated.Load(); n > 0 {
		t.Errorf("%d bytes are allocated ahead", n)
	}
}

// TestBrokenDisk tests that the process goes on and no operation hangs when the database gives up.
func TestBrokenDisk(t *testing.T) {
	t.Parallel()
	var fault atomic.Pointer[error]
	s := openTuned(t, Config{Path: t.TempDir()}, func(tune *tuning) {
		fast(tune)
		tune.fs = failingFS(&fault)
	})
	broken := error(syscall.EIO)
	fault.Store(&broken)
	miltertest.Eventually(t, "the store is down", func() bool {
		began := time.Now()
		_ = s.Put(t.Context(), "a", []byte("1"), time.Hour)
		if d := time.Since(began); d > quick {
			t.Errorf("an operation took %v", d)
		}
		return s.healthy() != nil && errors.Is(s.healthy(), checks.ErrStoreDown)
	})
	began := time.Now()
	if err := s.Close(); err == nil || time.Since(began) > slowDisk+quick {
		t.Errorf("close: %v after %v", err, time.Since(began))
	}
}

// TestStalledDisk tests that no operation hangs while reads and writes of the disk do.
func TestStalledDisk(t *testing.T) {
	t.Parallel()
	resume := make(chan struct{})
	var stalled atomic.Bool
	dir := t.TempDir()
	cfg := Config{Path: dir, Timeout: short}.withDefaults()
	tune := standardTuning()
	fast(&tune)
	tune.fs = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if stalled.Load() {
			<-resume
		}
		return nil
	}))
	e, err := openEmbedded(cfg, tune)
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(e, cfg)
	defer s.Close()
	value := make([]byte, checks.MaxValue)
	ctx := t.Context()
	miltertest.Eventually(t, "the store is up", func() bool { return s.Put(ctx, "a", value, time.Hour) == nil })
	stalled.Store(true)
	for i := 0; !errors.Is(s.healthy(), checks.ErrStoreDown); i++ {
		began := time.Now()
		_ = s.Put(ctx, strconv.Itoa(i), value, time.Hour)
		if d := time.Since(began); d > quick {
			t.Fatalf("an operation took %v", d)
		}
	}
	stalled.Store(false)
	close(resume)
	miltertest.Eventually(t, "the fault is over", func() bool { return s.healthy() == nil && settled(s) })
	if _, ok, err := s.Get(ctx, "0"); !ok || err != nil {
		t.Errorf("got %t, %v", ok, err)
	}
}

// TestOneProbeWaits tests that one goroutine waits for a disk that hangs, not one more with each probe.
func TestOneProbeWaits(t *testing.T) {
	t.Parallel()
	cfg := Config{Path: t.TempDir()}.withDefaults()
	e, err := openEmbedded(cfg, standardTuning())
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	probe := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return e.probe(ctx)
	}
	e.dbMu.Lock() // as if a read hung
	began := time.Now()
	for _, limit := range []time.Duration{time.Millisecond, time.Minute, time.Minute} {
		if err := probe(limit); !errors.Is(err, errNoAnswer) {
			t.Errorf("got %v", err)
		}
	}
	if d := time.Since(began); d > quick {
		t.Errorf("another probe waited too: %v", d)
	}
	e.dbMu.Unlock()
	miltertest.Eventually(t, "a probe succeeds", func() bool { return probe(time.Minute) == nil })
}
