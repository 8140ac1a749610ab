package store

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/milter/miltertest"
)

// TestDiskSpaceOfExpiredRecords lets many records expire, round after round, beside some that do not. The folder must
// not grow beyond twice the size of these and the log of the database. MILTERD_TEST_TRIPLETS sets how many expire, for
// a long run.
func TestDiskSpaceOfExpiredRecords(t *testing.T) {
	t.Parallel()
	expiring := 100_000
	if n, err := strconv.Atoi(os.Getenv("MILTERD_TEST_TRIPLETS")); err == nil {
		expiring = n
	}
	const rounds = 5
	c := new(checktest.Clock)
	s := openTuned(t, Config{Path: t.TempDir(), Now: c.Now}, func(tune *tuning) {
		tune.flushEvery, tune.sweepEvery = 10*time.Millisecond, 10*time.Millisecond
	})
	e := s.driver.(*embedded)
	ctx := t.Context()
	value := make([]byte, 150) // the size of a triplet
	key := func(i int) string { return fmt.Sprintf("greylist:wait:%022d", i) }
	put := func(i int, ttl time.Duration) {
		if err := s.Put(ctx, key(i), value, ttl); err != nil {
			t.Fatal(err)
		}
	}
	stay := expiring / 10
	for i := range stay {
		put(-1-i, 365*24*time.Hour)
	}
	live := int64(stay * (len(key(0)) + deadlineBytes + len(value)))
	most := 2*live + 3*memtableBytes
	for round := range rounds {
		for i := range expiring / rounds {
			put(round*expiring/rounds+i, time.Hour)
		}
		c.Advance(2 * time.Hour)
	}
	size := int64(0)
	miltertest.Eventually(t, "the expired records take no space", func() bool {
		_, size = e.size(ctx)
		return settled(s) && e.sweeper.records.Load() == int64(stay) && size <= most
	})
	t.Logf("%d bytes on the disk for %d bytes of records, after %d records have expired", size, live, expiring)
	for _, i := range []int{-1, -stay} {
		if _, ok, err := s.Get(ctx, key(i)); !ok || err != nil {
			t.Errorf("record %d: %t, %v", i, ok, err)
		}
	}
	if _, ok, _ := s.Get(ctx, key(0)); ok {
		t.Error("an expired record exists")
	}
}
