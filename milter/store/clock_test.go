package store

import (
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/milter/miltertest"
)

// TestHostClockJumps tests that the lifetime of records stays as it was if the host's clock is changed between two
// starts.
func TestHostClockJumps(t *testing.T) {
	t.Parallel()
	for name, jump := range checktest.Jumps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, c := t.TempDir(), new(checktest.Clock)
			ctx := t.Context()
			var s *Store
			restart := func() {
				if s != nil {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				}
				s = openTuned(t, Config{Path: dir, Now: c.Now}, fast)
			}
			has := func(when, key string, want bool) {
				t.Helper()
				if _, ok, err := s.Get(ctx, key); ok != want || err != nil {
					t.Errorf("%s: record %s exists: %t, %v", when, key, ok, err)
				}
			}
			put := func(key string) {
				t.Helper()
				if err := s.Put(ctx, key, []byte("1"), 30*24*time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			restart()
			put("before")
			c.Advance(jump)
			restart()
			has("after a restart", "before", jump < 30*24*time.Hour) // after a jump ahead, the host may have been off for so long
			put("wrong")
			restart()
			c.Advance(-jump)
			restart()
			has("clock put right", "wrong", jump > -30*24*time.Hour)
			put("after")
			for r, err := range s.Scan(ctx, "") {
				if left := r.Expires.Sub(c.Now()); err != nil || left > 30*24*time.Hour || r.Key == clockKey {
					t.Errorf("%s is shown to expire in %v: %v", r.Key, left, err)
				}
			}
			c.Advance(20 * 24 * time.Hour)
			if err := s.Put(ctx, "busy", nil, time.Hour); err != nil { // the time that counts is that of the last write
				t.Fatal(err)
			}
			restart()
			has("20 days later", "after", true)
			c.Advance(11 * 24 * time.Hour)
			for _, key := range []string{"before", "wrong", "after"} {
				has("31 days later", key, false)
			}
			miltertest.Eventually(t, "all records are swept", func() bool { return settled(s) && s.driver.(*embedded).sweeper.records.Load() == 0 })
		})
	}
}

// TestDefaultClock tests that the default clock starts with that of the host and does not go back.
func TestDefaultClock(t *testing.T) {
	t.Parallel()
	cfg := Config{Driver: "memory"}.withDefaults()
	first, now := cfg.Now(), time.Now()
	if off := first.Sub(now).Abs(); off > time.Minute {
		t.Errorf("off by %v", off)
	}
	if second := cfg.Now(); second.Before(first) {
		t.Errorf("%v, then %v", first, second)
	}
}
