package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sink records the batches of a Writer of numbers, each of which has the size 1.
type sink struct {
	mu      sync.Mutex
	batches [][]int
	stalled chan struct{} // if not nil, Write waits until it is closed
}

func (s *sink) open(c Config[int]) *Writer[int] {
	if c.MaxBytes == 0 {
		c.MaxBytes = 1000
	}
	c.Size = func(int) int { return 1 }
	c.Write = func(batch []int) {
		s.mu.Lock()
		s.batches = append(s.batches, slices.Clone(batch))
		s.mu.Unlock()
		if s.stalled != nil {
			<-s.stalled
		}
	}
	return New(c)
}

// written returns the numbers in the order in which they were written.
func (s *sink) written() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(s.batches...)
}

func addAll(w *Writer[int], from, to int) (added []int) {
	for n := from; n < to; n++ {
		w.Add(n)
		added = append(added, n)
	}
	return added
}

func TestOrder(t *testing.T) {
	t.Parallel()
	var s sink
	w := s.open(Config[int]{})
	want := addAll(w, 0, 500)
	if lost := w.Close(time.Minute); lost != 0 || !slices.Equal(s.written(), want) {
		t.Errorf("%d lost, got %v", lost, s.written())
	}
	for _, batch := range s.batches {
		if len(batch) > maxBatch {
			t.Errorf("batch of %d", len(batch))
		}
	}
}

func TestConcurrentAdd(t *testing.T) {
	t.Parallel()
	var s sink
	w := s.open(Config[int]{MaxBytes: 1 << 20})
	var adding sync.WaitGroup
	const goroutines, each = 8, 500
	for g := range goroutines {
		adding.Go(func() {
			addAll(w, g*each, (g+1)*each)
			if err := w.Flush(t.Context(), time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	adding.Wait()
	got := s.written()
	slices.Sort(got)
	if len(slices.Compact(got)) != goroutines*each || w.Dropped() != 0 {
		t.Errorf("%d of %d written, %d dropped", len(got), goroutines*each, w.Dropped())
	}
	w.Close(time.Minute)
}

// TestFull shows that the bound includes the entries that are being written, and that Add drops beyond it.
func TestFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := sink{stalled: make(chan struct{})}
		var reports []uint64
		w := s.open(Config[int]{MaxBytes: 10, OnDrop: func(total uint64, _ error) { reports = append(reports, total) }})
		addAll(w, 0, 3)
		synctest.Wait()
		addAll(w, 3, 15)
		if w.Dropped() != 5 || len(reports) != 1 {
			t.Errorf("%d dropped, reported %v", w.Dropped(), reports)
		}
		time.Sleep(dropInterval)
		w.Add(15)
		if !slices.Equal(reports, []uint64{1, 6}) {
			t.Errorf("reported %v", reports)
		}
		began := time.Now()
		if lost := w.Close(time.Second); lost != 10 || time.Since(began) != time.Second {
			t.Errorf("%d lost after %s", lost, time.Since(began))
		}
		w.Add(16)
		close(s.stalled)
		if lost := w.Close(time.Second); lost != 0 || len(s.written()) != 10 || w.Dropped() != 7 {
			t.Errorf("%d lost, %d written, %d dropped", lost, len(s.written()), w.Dropped())
		}
	})
}

// TestEach tests that an entry is dropped if the function returns an error or panics, and that a number of calls run at a time.
func TestEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s sink
		w := s.open(Config[int]{})
		defer w.Close(time.Second)
		began := time.Now()
		w.Each([]int{1, 2, 3, 4, 5}, 2, func(n int) error {
			time.Sleep(time.Second)
			switch n {
			case 2:
				return errors.New("bad")
			case 4:
				panic("bug")
			}
			return nil
		})
		if took := time.Since(began); w.Dropped() != 2 || took != 3*time.Second {
			t.Errorf("%d dropped after %s", w.Dropped(), took)
		}
	})
}

func TestRoomIsFreed(t *testing.T) {
	t.Parallel()
	var s sink
	w := s.open(Config[int]{MaxBytes: 10})
	for i := range 100 {
		addAll(w, 10*i, 10*(i+1))
		if err := w.Flush(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.written()); n != 1000 || w.Dropped() != 0 {
		t.Errorf("%d written, %d dropped", n, w.Dropped())
	}
	w.Close(time.Minute)
}

func TestFlushEndsInTime(t *testing.T) {
	t.Parallel()
	s := sink{stalled: make(chan struct{})}
	w := s.open(Config[int]{})
	w.Add(1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := w.Flush(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the context ends: got %v", err)
	}
	if err := w.Flush(t.Context(), 10*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the timeout ends: got %v", err)
	}
	close(s.stalled)
	w.Close(time.Minute)
}

func TestLinger(t *testing.T) {
	t.Parallel()
	const linger = time.Second
	for _, c := range []struct {
		name  string
		do    func(*Writer[int])
		takes time.Duration
		want  []int // sizes of the batches
	}{
		{"a few entries wait", func(w *Writer[int]) { addAll(w, 0, 3); time.Sleep(linger + 1) }, linger + 1, []int{3}},
		{"a full batch does not", func(w *Writer[int]) { addAll(w, 0, maxBatch+1); time.Sleep(time.Nanosecond) }, 1, []int{maxBatch}},
		{"Flush ends it", func(w *Writer[int]) { addAll(w, 0, 3); _ = w.Flush(context.Background(), time.Minute) }, 0, []int{3}},
		{"Close ends it", func(w *Writer[int]) { addAll(w, 0, 3); w.Close(time.Minute) }, 0, []int{3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var s sink
				w := s.open(Config[int]{Linger: linger})
				began := time.Now()
				c.do(w)
				synctest.Wait()
				var sizes []int
				s.mu.Lock()
				for _, batch := range s.batches {
					sizes = append(sizes, len(batch))
				}
				s.mu.Unlock()
				if took := time.Since(began); took != c.takes || !slices.Equal(sizes, c.want) {
					t.Errorf("batches of %v after %s, want %v after %s", sizes, took, c.want, c.takes)
				}
				w.Close(time.Second)
			})
		})
	}
}
