package store

import (
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/checktest/storetest"
)

// open returns a store that is closed at the end of the test.
func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = busy
	}
	if cfg.Driver == "" || cfg.Driver == "embedded" {
		return openTuned(t, cfg, func(*tuning) {})
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// openTuned returns an embedded store that is closed at the end of the test.
func openTuned(t testing.TB, cfg Config, change func(*tuning)) *Store {
	t.Helper()
	cfg.Driver = "embedded"
	cfg.Timeout = busy
	cfg = cfg.withDefaults()
	tune := standardTuning()
	tune.openFor = busy
	change(&tune)
	e, err := openEmbedded(cfg, tune)
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(e, cfg)
	t.Cleanup(func() { s.Close() })
	return s
}

// same is a storetest.Setup.Second for a store that only one process uses.
func same(_ *testing.T, first checks.Store) checks.Store { return first }

func TestMemory(t *testing.T) {
	t.Parallel()
	c := new(checktest.Clock)
	storetest.Run(t, storetest.Setup{
		Open: func(t *testing.T) checks.Store {
			s := NewMemory(c.Now)
			t.Cleanup(func() { s.Close() })
			return s
		},
		Second: same, Now: c.Now, Advance: c.Advance,
	})
}

// TestEmbedded runs the tests of storetest with records that stay in the buffer, that are written during the test, and
// that are swept all the time.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	for name, flush := range map[string]time.Duration{"unwritten": time.Hour, "written": time.Millisecond, "standard": standardTuning().flushEvery} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := new(checktest.Clock)
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
