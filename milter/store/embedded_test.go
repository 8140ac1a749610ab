package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

func hasty(tune *tuning) { tune.flushEvery, tune.sweepEvery = 5*time.Millisecond, time.Millisecond }

// settled tells whether all that was written is on the disk.
func settled(s *Store) bool {
	e := s.driver.(*embedded)
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.waiting.changes)+len(e.writing.changes) == 0
}

func TestReopen(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), newClock()
	ctx := t.Context()
	for round := range 5 {
		s := open(t, Config{Path: dir, Now: c.Now})
		if total, err := s.Add(ctx, "n", 1, time.Hour); err != nil || total != int64(round+1) {
			t.Fatalf("round %d: got %d, %v", round, total, err)
		}
		if _, ok, err := s.Get(ctx, "gone"); ok || err != nil {
			t.Errorf("got %t, %v", ok, err)
		}
		if err := s.Put(ctx, "gone", []byte("1"), time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		c.Advance(time.Minute)
	}
}

// TestReadsAreNeverStale: who has written a record reads it, however many read the same one all the time, and whatever has
// been written to the disk since.
func TestReadsAreNeverStale(t *testing.T) {
	t.Parallel()
	s := openTuned(t, Config{Path: t.TempDir()}, func(tune *tuning) { tune.flushEvery = time.Millisecond })
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				_, _, _ = s.Get(ctx, "key")
			}
		})
	}
	defer readers.Wait()
	defer stop()
	for i := range 100 {
		want := strconv.Itoa(i)
		if err := s.Put(t.Context(), "key", []byte(want), time.Hour); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < 3*time.Millisecond; {
			if got, ok, err := s.Get(t.Context(), "key"); !ok || err != nil || string(got) != want {
				t.Fatalf("got %q, %t, %v; want %q", got, ok, err, want)
			}
		}
		if i%3 == 0 {
			if err := s.Delete(t.Context(), "key"); err != nil {
				t.Fatal(err)
			}
			if got, ok, err := s.Get(t.Context(), "key"); ok || err != nil {
				t.Fatalf("deleted: got %q, %v", got, err)
			}
		}
	}
}

// TestAnswersOfBeforeAreNotKept: a read that was asked before a change, and comes back after that has left the map, would be given to
// all who ask from then on.
func TestAnswersOfBeforeAreNotKept(t *testing.T) {
	t.Parallel()
	put := func(t *testing.T, s *Store) {
		if err := s.Put(t.Context(), "key", []byte("new"), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		was     string // what was read; empty: no record
		between func(*testing.T, *Store)
		kept    bool
		want    string
	}{
		{"nothing happens", "old", func(*testing.T, *Store) {}, true, "old"},
		{"others read", "old", func(t *testing.T, s *Store) {
			if _, _, err := s.Get(t.Context(), "another"); err != nil {
				t.Error(err)
			}
		}, true, "old"},
		{"it is added", "", put, false, "new"},
		{"it is changed", "old", put, false, "new"},
		{"it is deleted", "old", func(t *testing.T, s *Store) {
			if err := s.Delete(t.Context(), "key"); err != nil {
				t.Error(err)
			}
		}, false, ""},
		{"the database is replaced", "old", func(_ *testing.T, s *Store) { s.driver.(*embedded).forget() }, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := openTuned(t, Config{Path: t.TempDir()}, hasty)
			e := s.driver.(*embedded)
			// The steps of load: nobody could have another one come between them.
			_, there, saves := e.recall("key")
			if there {
				t.Fatal("it is known before it was read")
			}
			read := change{}
			if c.was != "" {
				read = change{[]byte(c.was), deadline(e.now(), time.Hour)}
			}
			c.between(t, s)
			eventually(t, "it is written", func() bool { return settled(s) })
			e.remember("key", read, saves)
			if _, kept, _ := e.recall("key"); kept != c.kept {
				t.Errorf("kept: %t", kept)
			}
			if got, ok, err := s.Get(t.Context(), "key"); string(got) != c.want || ok != (c.want != "") || err != nil {
				t.Errorf("got %q, %t, %v; want %q", got, ok, err, c.want)
			}
		})
	}
}

// waiter is a context that tells when somebody begins to wait for its end.
type waiter struct {
	context.Context
	waits chan<- struct{}
}

func (w waiter) Done() <-chan struct{} {
	w.waits <- struct{}{}
	return w.Context.Done()
}

// TestCrowdedWritersGoOn: who has to wait because too much is not written does so until it is, and no longer.
func TestCrowdedWritersGoOn(t *testing.T) {
	t.Parallel()
	s := openTuned(t, Config{Path: t.TempDir()}, func(tune *tuning) { tune.flushEvery = time.Hour })
	e := s.driver.(*embedded)
	if err := s.Put(t.Context(), "first", []byte("1"), time.Hour); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	e.waiting.octets += mostOctets // as if it were so long
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	const writers = 3
	waits, done := make(chan struct{}, writers), make(chan error, writers)
	for i := range writers {
		go func() { done <- e.put(waiter{ctx, waits}, strconv.Itoa(i), []byte("1"), time.Hour) }()
	}
	for range writers {
		select {
		case <-waits:
		case err := <-done:
			t.Fatalf("somebody did not wait: %v", err)
		}
	}
	e.wake()
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for i := range writers {
		if _, ok, err := e.get(t.Context(), strconv.Itoa(i)); !ok || err != nil {
			t.Errorf("writer %d: %t, %v", i, ok, err)
		}
	}
}

func TestInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Config{Path: dir})
	if second, err := Open(Config{Path: dir}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		second.Close()
		t.Errorf("got %v", err)
	}
	if err := s.Put(t.Context(), "a", nil, time.Hour); err != nil {
		t.Errorf("the first is disturbed: %v", err)
	}
	s.Close()
	open(t, Config{Path: dir})
}

// fill makes a folder with records in several files, and returns the names of the files.
func fill(t *testing.T, dir string) []string {
	t.Helper()
	s := openTuned(t, Config{Path: dir}, hasty)
	for i := range 3000 {
		if err := s.Put(t.Context(), strconv.Itoa(i), bytes.Repeat([]byte{byte(i)}, 100), time.Hour); err != nil {
			t.Fatal(err)
		}
		if i == 1500 {
			eventually(t, "all is written", func() bool { return settled(s) })
			if err := s.driver.(*embedded).db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "store", "*"))
	if err != nil || len(names) < 3 {
		t.Fatalf("got %q, %v", names, err)
	}
	return names
}

// TestDamage spoils one file after the other, in several ways. The store opens each time, and works; what it cannot read
// is moved aside, at once or when the first look comes to it.
func TestDamage(t *testing.T) {
	t.Parallel()
	whole := t.TempDir()
	names := fill(t, whole)
	ways := map[string]func(string, []byte) error{
		"removed":   func(name string, _ []byte) error { return os.Remove(name) },
		"emptied":   func(name string, _ []byte) error { return os.Truncate(name, 0) },
		"truncated": func(name string, b []byte) error { return os.Truncate(name, int64(len(b)/2)) },
		"garbled": func(name string, b []byte) error {
			for i := 10; i < len(b); i += 50 {
				b[i] ^= 0x55
			}
			return os.WriteFile(name, b, 0o600)
		},
		"a folder": func(name string, _ []byte) error { return errors.Join(os.Remove(name), os.Mkdir(name, 0o700)) },
	}
	moved := atomic.Int64{}
	for how, spoil := range ways {
		for _, file := range names {
			t.Run(fmt.Sprintf("%s %s", filepath.Base(file), how), func(t *testing.T) {
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
					t.Fatal(err)
				}
				name := filepath.Join(dir, "store", filepath.Base(file))
				content, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if err := spoil(name, content); err != nil {
					t.Fatal(err)
				}
				if begunAnew(t, dir) {
					moved.Add(1)
				}
			})
		}
	}
	if moved.Load() < 5 {
		t.Errorf("moved aside %d times only", moved.Load())
	}
}

// begunAnew uses the store in a folder that may be damaged, and tells whether it was moved aside.
func begunAnew(t *testing.T, dir string) bool {
	t.Helper()
	log, hook := logtest.NewNullLogger()
	log.SetOutput(t.Output())
	s := openTuned(t, Config{Path: dir, Log: logrus.NewEntry(log)}, hasty)
	e := s.driver.(*embedded)
	eventually(t, "it has looked at all records", func() bool { return e.sweeper.records.Load() >= 0 && e.damaged.Load() == nil })
	eventually(t, "it works", func() bool { return s.Put(t.Context(), "new", []byte("1"), time.Hour) == nil })
	eventually(t, "it has written", func() bool { return settled(s) })
	if v, ok, err := s.Get(t.Context(), "new"); string(v) != "1" || !ok || err != nil {
		t.Errorf("got %q, %t, %v", v, ok, err)
	}
	for r, err := range s.Scan(t.Context(), "") {
		if err != nil || r.Key == "" {
			t.Errorf("got %q, %v", r.Key, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	aside, err := filepath.Glob(filepath.Join(dir, "store.damaged-*"))
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for _, line := range hook.AllEntries() {
		told = told || line.Level == logrus.ErrorLevel && strings.Contains(line.Message, "beginning with an empty one")
	}
	if told != (len(aside) > 0) {
		t.Errorf("moved aside: %q; the log says so: %t", aside, told)
	}
	return told
}

// faulty is a file system that fails to write while an error is set. What was written can be synced, if the error is one that
// passes.
func faulty(fault *atomic.Pointer[error]) vfs.FS {
	return errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		syncs := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
		if err := fault.Load(); err != nil && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && !(syncs && passes(*err)) {
			return *err
		}
		return nil
	}))
}

// TestUnwritableDisk: the store goes on in memory, says so, and writes when it can again.
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
				hasty(tune)
				tune.fs = faulty(&fault)
			})
			ctx := t.Context()
			fault.Store(&errno)
			for i := range 1000 {
				if err := s.Put(ctx, strconv.Itoa(i), make([]byte, 1000), time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "it says that the disk cannot be written", func() bool { return s.Healthy() != nil })
			if st := s.Status(); st.OK || !strings.Contains(st.Error, errno.Error()) {
				t.Errorf("got %+v", st)
			}
			if _, ok, err := s.Get(ctx, "999"); !ok || err != nil {
				t.Errorf("got %t, %v", ok, err)
			}
			fault.Store(nil)
			eventually(t, "it is well again", func() bool { return s.Healthy() == nil && settled(s) })
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

// TestOpenOnFullDisk: the store opens without its database, says so, and gets it when there is room.
func TestOpenOnFullDisk(t *testing.T) {
	t.Parallel()
	var fault atomic.Pointer[error]
	full := error(syscall.ENOSPC)
	fault.Store(&full)
	s := openTuned(t, Config{Path: t.TempDir()}, func(tune *tuning) {
		hasty(tune)
		tune.fs, tune.openFor = faulty(&fault), 10*time.Millisecond
	})
	eventually(t, "it is down", func() bool { return errors.Is(s.Healthy(), ErrDown) })
	if err := s.Put(t.Context(), "a", []byte("1"), time.Hour); !errors.Is(err, ErrDown) {
		t.Errorf("put: %v", err)
	}
	fault.Store(nil)
	eventually(t, "it is well", func() bool { return s.Healthy() == nil })
	if err := s.Put(t.Context(), "a", []byte("1"), time.Hour); err != nil {
		t.Error(err)
	}
	eventually(t, "it has written", func() bool { return settled(s) })
}

// TestBrokenDisk: the database gives up, and neither the process nor an operation does.
func TestBrokenDisk(t *testing.T) {
	t.Parallel()
	var fault atomic.Pointer[error]
	s := openTuned(t, Config{Path: t.TempDir()}, func(tune *tuning) {
		hasty(tune)
		tune.fs = faulty(&fault)
	})
	broken := error(syscall.EIO)
	fault.Store(&broken)
	eventually(t, "it is down", func() bool {
		began := time.Now()
		_ = s.Put(t.Context(), "a", []byte("1"), time.Hour)
		if d := time.Since(began); d > quick {
			t.Errorf("an operation took %v", d)
		}
		return s.Healthy() != nil && errors.Is(s.Healthy(), ErrDown)
	})
	began := time.Now()
	if err := s.Close(); err == nil || time.Since(began) > late+quick {
		t.Errorf("close: %v after %v", err, time.Since(began))
	}
}

// TestStalledDisk: reading and writing hang, and no operation does.
func TestStalledDisk(t *testing.T) {
	t.Parallel()
	stall := make(chan struct{})
	var stalled atomic.Bool
	dir := t.TempDir()
	cfg, err := Config{Path: dir, Timeout: 100 * time.Millisecond}.complete()
	if err != nil {
		t.Fatal(err)
	}
	tune := standard()
	hasty(&tune)
	tune.fs = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if stalled.Load() {
			<-stall
		}
		return nil
	}))
	e, err := openEmbedded(cfg, tune)
	if err != nil {
		t.Fatal(err)
	}
	s := watch(e, cfg)
	defer s.Close()
	value := make([]byte, MaxValue)
	ctx := t.Context()
	eventually(t, "it is up", func() bool { return s.Put(ctx, "a", value, time.Hour) == nil })
	stalled.Store(true)
	for i := 0; !errors.Is(s.Healthy(), ErrDown); i++ {
		began := time.Now()
		_ = s.Put(ctx, strconv.Itoa(i), value, time.Hour)
		if d := time.Since(began); d > quick {
			t.Fatalf("an operation took %v", d)
		}
	}
	stalled.Store(false)
	close(stall)
	eventually(t, "it is well again", func() bool { return s.Healthy() == nil && settled(s) })
	if _, ok, err := s.Get(ctx, "0"); !ok || err != nil {
		t.Errorf("got %t, %v", ok, err)
	}
}

// TestOneProbeWaits: while a disk hangs for hours, one goroutine waits for it, not one more each second.
func TestOneProbeWaits(t *testing.T) {
	t.Parallel()
	cfg, err := Config{Path: t.TempDir()}.complete()
	if err != nil {
		t.Fatal(err)
	}
	e, err := openEmbedded(cfg, standard())
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	probe := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return e.probe(ctx)
	}
	e.base.Lock() // as when reading hangs
	began := time.Now()
	for _, limit := range []time.Duration{time.Millisecond, time.Minute, time.Minute} {
		if err := probe(limit); !errors.Is(err, errNoAnswer) {
			t.Errorf("got %v", err)
		}
	}
	if d := time.Since(began); d > quick {
		t.Errorf("a second probe waited too: %v", d)
	}
	e.base.Unlock()
	eventually(t, "the disk is well again", func() bool { return probe(time.Minute) == nil })
}
