package store

import (
	"strconv"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

// TestMemoryIsBounded tests that the records that expire soonest are deleted when the limit is reached.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const most = 100 * (overhead + 3 + 10)
	s := open(t, Config{Driver: "memory", MaxBytes: most})
	ctx := t.Context()
	// Records with even numbers expire later.
	for i := 100; i < 300; i++ {
		if err := s.Put(ctx, strconv.Itoa(i), make([]byte, 10), time.Hour*time.Duration(2-i%2)+time.Duration(i)*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for i := 100; i < 300; i++ {
		_, ok, err := s.Get(ctx, strconv.Itoa(i))
		if err != nil {
			t.Fatal(err)
		}
		// The last record has replaced another one.
		if want := i%2 == 0 && i > 100 || i == 299; ok != want {
			t.Errorf("%d: got %t", i, ok)
		}
	}
	if _, bytes := s.driver.size(ctx); bytes != most {
		t.Errorf("%d bytes, want %d", bytes, most)
	}
	if err := s.Put(ctx, "huge", make([]byte, checks.MaxValue), time.Hour); err != nil {
		t.Error(err)
	}
	if records, bytes := s.driver.size(ctx); records != 1 || bytes < checks.MaxValue {
		t.Errorf("beside a record larger than the limit: %d records, %d bytes", records, bytes)
	}
}

// TestMemoryDropsExpiredRecords tests that expired records take no memory, even if they are not read.
func TestMemoryDropsExpiredRecords(t *testing.T) {
	t.Parallel()
	c := new(checktest.Clock)
	s := open(t, Config{Driver: "memory", Now: c.Now})
	for i := range 1000 {
		if _, err := s.Add(t.Context(), strconv.Itoa(i), 1, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	c.Advance(time.Minute)
	if records, bytes := s.driver.size(t.Context()); records != 0 || bytes != 0 {
		t.Errorf("%d records, %d bytes are left", records, bytes)
	}
}
