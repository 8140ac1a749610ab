package store

import (
	"sync"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest/storetest"
)

// clock is a clock that moves only when told to. It is safe for concurrent use.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// open makes a store that lasts as long as the test.
func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second // the machine of the tests may be busy
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// openTuned makes an embedded store that lasts as long as the test.
func openTuned(t testing.TB, cfg Config, change func(*tuning)) *Store {
	t.Helper()
	cfg.Driver = "embedded"
	cfg.Timeout = 10 * time.Second
	cfg, err := cfg.complete()
	if err != nil {
		t.Fatal(err)
	}
	tune := standard()
	change(&tune)
	e, err := openEmbedded(cfg, tune)
	if err != nil {
		t.Fatal(err)
	}
	s := watch(e, cfg)
	t.Cleanup(func() { s.Close() })
	return s
}

func same(_ *testing.T, first checks.Store) checks.Store { return first }

func TestMemory(t *testing.T) {
	t.Parallel()
	c := newClock()
	storetest.Run(t, storetest.Setup{
		Open: func(t *testing.T) checks.Store {
			s := NewMemory(c.Now)
			t.Cleanup(func() { s.Close() })
			return s
		},
		Second: same, Now: c.Now, Advance: c.Advance,
	})
}

// TestEmbedded runs the suite with records that are still in memory, that have been written while the test goes on, and
// that are swept all the time.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	for name, flush := range map[string]time.Duration{"unwritten": time.Hour, "written": time.Millisecond, "standard": standard().flushEvery} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			storetest.Run(t, storetest.Setup{
				Open: func(t *testing.T) checks.Store {
					return openTuned(t, Config{Path: t.TempDir(), Now: c.Now}, func(tune *tuning) {
						tune.flushEvery = flush
						tune.sweepEvery = 0
					})
				},
				Second: same, Now: c.Now, Advance: c.Advance,
			})
		})
	}
}
