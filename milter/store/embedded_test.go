package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/milter/miltertest"
)

// fast makes the writer run and sweep all the time.
func fast(t *tuning) { t.flushEvery, t.sweepEvery = 5*time.Millisecond, time.Millisecond }

// settled reports whether all changes are on the disk.
func settled(s *Store) bool {
	return len(s.driver.(*embedded).buffer.withPrefix("")) == 0
}

func TestRecordsAndExpirySurviveReopening(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), new(checktest.Clock)
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

// TestReadsAreNeverStale tests that a record is read as it was last written, while other goroutines read it all the
// time and the writer writes it to the disk.
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

// TestReadsDuringAChangeAreNotCached tests that a read of the database which began before a change is not cached after
// the change has left the buffer: it may have returned the old value.
func TestReadsDuringAChangeAreNotCached(t *testing.T) {
	t.Parallel()
	put := func(t *testing.T, s *Store) {
		if err := s.Put(t.Context(), "key", []byte("new"), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		read    string // value in the database; empty: no record
		between func(*testing.T, *Store)
		cached  bool
		want    string // value that Get returns afterwards
	}{
		{"no change", "old", func(*testing.T, *Store) {}, true, "old"},
		{"a read of another key", "old", func(t *testing.T, s *Store) {
			if _, _, err := s.Get(t.Context(), "another"); err != nil {
				t.Error(err)
			}
		}, true, "old"},
		{"the record is added", "", put, false, "new"},
		{"the record is changed", "old", put, false, "new"},
		{"the record is deleted", "old", func(t *testing.T, s *Store) {
			if err := s.Delete(t.Context(), "key"); err != nil {
				t.Error(err)
			}
		}, false, ""},
		{"the database is replaced", "old", func(_ *testing.T, s *Store) { s.driver.(*embedded).buffer.forgetReads() }, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := openTuned(t, Config{Path: t.TempDir()}, fast)
			e := s.driver.(*embedded)
			// The steps of load, with a change between them.
			_, known, writes := e.buffer.get("key")
			if known {
				t.Fatal("cached before the first read")
			}
			read := change{}
			if c.read != "" {
				read = change{[]byte(c.read), e.clock.deadline(time.Hour)}
			}
			c.between(t, s)
			miltertest.Eventually(t, "all is written", func() bool { return settled(s) })
			e.buffer.cacheRead("key", read, writes)
			if _, cached, _ := e.buffer.get("key"); cached != c.cached {
				t.Errorf("cached: %t", cached)
			}
			if got, ok, err := s.Get(t.Context(), "key"); string(got) != c.want || ok != (c.want != "") || err != nil {
				t.Errorf("got %q, %t, %v; want %q", got, ok, err, c.want)
			}
		})
	}
}

// notifyingContext is a context that sends when its Done is called.
type notifyingContext struct {
	context.Context
	called chan<- struct{}
}

func (c notifyingContext) Done() <-chan struct{} {
	c.called <- struct{}{}
	return c.Context.Done()
}

// TestChangesWaitWhileTheBufferIsFull tests that changes wait while the buffer is full, and go on after the next write.
func TestChangesWaitWhileTheBufferIsFull(t *testing.T) {
	t.Parallel()
	s := openTuned(t, Config{Path: t.TempDir()}, func(tune *tuning) { tune.flushEvery = time.Hour })
	e := s.driver.(*embedded)
	if err := s.Put(t.Context(), "first", []byte("1"), time.Hour); err != nil {
		t.Fatal(err)
	}
	e.buffer.mu.Lock()
	e.buffer.waiting.bytes += maxUnwritten // as if the first record were that long
	e.buffer.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const writers = 3
	called, done := make(chan struct{}, writers), make(chan error, writers)
	for i := range writers {
		c := change{value: []byte("1"), deadline: e.clock.deadline(time.Hour)}
		go func() { done <- e.save(notifyingContext{ctx, called}, strconv.Itoa(i), c) }()
	}
	for range writers {
		select {
		case <-called:
		case err := <-done:
			t.Fatalf("a change did not wait: %v", err)
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

func TestFolderInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Config{Path: dir})
	second, err := Open(Config{Path: dir})
	if err == nil {
		second.Close()
	}
	if !errors.Is(err, errInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if err := s.Put(t.Context(), "a", nil, time.Hour); err != nil {
		t.Errorf("the first store fails: %v", err)
	}
	s.Close()
	open(t, Config{Path: dir})
}

// TestFolderReadOnly tests that a folder in which no file can be made is not said to be in use.
func TestFolderReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "LOCK"), 0o700); err != nil { // root may write to read-only folders
		t.Fatal(err)
	}
	_, err := Open(Config{Path: dir})
	if err == nil || errors.Is(err, errInUse) || !strings.Contains(err.Error(), dir+" cannot be written") {
		t.Errorf("got %v", err)
	}
}
