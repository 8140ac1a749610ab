package store

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks"
	"milterd/milter/miltertest"
	"milterd/milter/store/redistest"
)

// A busy machine makes operations slow.
const (
	// busy is a timeout that no operation exceeds while the store works.
	busy = time.Minute
	// short is a timeout that is exceeded for the test, and not all the time by a store that works.
	short = time.Second
	// quick is the longest that an operation may take whose timeout is short. Without the timeout it would take as long as the outage,
	// for whose end the tests wait longer than this. TestOutage measures the time exactly, as its time is virtual.
	quick = 20 * time.Second
)

func TestRedisOutages(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]struct {
		begin, end func(*redistest.Server, *redistest.Proxy)
	}{
		"network stalls": {
			func(_ *redistest.Server, p *redistest.Proxy) { p.Set(redistest.Stall) },
			func(_ *redistest.Server, p *redistest.Proxy) { p.Set(redistest.Pass) },
		},
		"connections are cut": {
			func(_ *redistest.Server, p *redistest.Proxy) { p.Set(redistest.Cut) },
			func(_ *redistest.Server, p *redistest.Proxy) { p.Set(redistest.Pass) },
		},
		"server hangs": {
			func(s *redistest.Server, _ *redistest.Proxy) { s.Freeze() },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Thaw() },
		},
		"server is restarted": {
			func(s *redistest.Server, _ *redistest.Proxy) { s.Stop() },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Start() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
			p := redistest.NewProxy(t, server)
			s := open(t, Config{Driver: "redis", URL: "redis://" + p.Addr, Timeout: short})
			// On a busy machine the first connection may take longer than the timeout.
			miltertest.Eventually(t, "the record is put", func() bool { return s.Put(t.Context(), "kept", []byte("1"), time.Hour) == nil })
			end := load(t, s)
			outage.begin(server, p)
			miltertest.Eventually(t, "the store is down", func() bool { return errors.Is(s.healthy(), checks.ErrStoreDown) })
			if _, _, err := s.Get(t.Context(), "kept"); !errors.Is(err, checks.ErrStoreDown) {
				t.Errorf("got %v", err)
			}
			if st := s.Status(); st.OK || st.Error == "" || st.Errors == 0 {
				t.Errorf("got %+v", st)
			}
			outage.end(server, p)
			miltertest.Eventually(t, "the store is up again", func() bool { return s.healthy() == nil })
			end()
			// The last operations of the load may have failed.
			miltertest.Eventually(t, "the record is back", func() bool {
				v, ok, err := s.Get(t.Context(), "kept")
				return err == nil && ok && string(v) == "1"
			})
			if st := s.Status(); !st.OK || st.Error == "" {
				t.Errorf("got %+v", st)
			}
		})
	}
}

// load uses a store from several goroutines until end is called. end fails the test if an operation took too long.
func load(t *testing.T, s *Store) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var n, longest atomic.Int64
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				_, _ = s.Add(ctx, "n"+strconv.FormatInt(n.Add(1)%10, 10), 1, time.Hour)
				longest.Store(max(longest.Load(), int64(time.Since(began))))
				<-time.After(time.Millisecond) // leaves processor time for the server
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
		if d := time.Duration(longest.Load()); d > quick {
			t.Errorf("an operation took %v", d)
		}
	}
}

// TestRedisDownAtStart tests that a store opens without its server and recovers when the server answers.
func TestRedisDownAtStart(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]redistest.Mode{"connections are closed": redistest.Cut, "connections stall": redistest.Stall} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := redistest.NewProxy(t, redistest.Start(t))
			p.Set(mode)
			began := time.Now()
			s := open(t, Config{Driver: "redis", URL: "redis://" + p.Addr, Timeout: short})
			if d := time.Since(began); d > quick {
				t.Errorf("opening took %v", d)
			}
			if err := s.Put(t.Context(), "a", nil, time.Hour); !errors.Is(err, checks.ErrStoreDown) {
				t.Errorf("got %v", err)
			}
			p.Set(redistest.Pass)
			miltertest.Eventually(t, "the store works", func() bool { return s.Put(t.Context(), "a", nil, time.Hour) == nil })
		})
	}
}
