package store

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// moody is a memory driver that fails, stalls or panics when told to.
type moody struct {
	*memory
	mood   atomic.Pointer[func(context.Context) error]
	asked  atomic.Int64
	probed atomic.Int64
	ill    atomic.Pointer[error]
}

var errMood = errors.New("bad mood")

func fails(context.Context) error { return errMood }

func stalls(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func panics(context.Context) error { panic("oops") }

func (m *moody) be(f func(context.Context) error) {
	if f == nil {
		m.mood.Store(nil)
		return
	}
	m.mood.Store(&f)
}

func (m *moody) feel(ctx context.Context) error {
	if f := m.mood.Load(); f != nil {
		return (*f)(ctx)
	}
	return nil
}

func (m *moody) get(ctx context.Context, key string) ([]byte, bool, error) {
	m.asked.Add(1)
	if err := m.feel(ctx); err != nil {
		return nil, false, err
	}
	return m.memory.get(ctx, key)
}

func (m *moody) probe(ctx context.Context) error {
	m.probed.Add(1)
	return m.feel(ctx)
}

func (m *moody) trouble() error {
	if err := m.ill.Load(); err != nil {
		return *err
	}
	return nil
}

func newMoody(t *testing.T) (*moody, *Store, *logtest.Hook) {
	t.Helper()
	log, hook := logtest.NewNullLogger()
	cfg, err := Config{Driver: "memory", Log: logrus.NewEntry(log)}.complete()
	if err != nil {
		t.Fatal(err)
	}
	m := &moody{memory: newMemory(cfg)}
	return m, watch(m, cfg), hook
}

// ask is a Get of which only the error matters.
func (s *Store) tryGet() error {
	_, _, err := s.Get(context.Background(), "a")
	return err
}

func TestOutage(t *testing.T) {
	t.Parallel()
	for name, mood := range map[string]func(context.Context) error{"fails": fails, "stalls": stalls, "panics": panics} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, s, hook := newMoody(t)
				defer s.Close()
				m.be(mood)
				began := time.Now()
				for range tolerated + 1 {
					if err := s.tryGet(); err == nil || errors.Is(err, ErrDown) {
						t.Errorf("got %v", err)
					}
				}
				if d := time.Since(began); d > 1500*time.Millisecond {
					t.Errorf("took %v", d)
				}
				asked, before := m.asked.Load(), time.Now()
				for range 100 {
					if err := s.tryGet(); !errors.Is(err, ErrDown) {
						t.Errorf("got %v", err)
					}
				}
				if m.asked.Load() != asked || time.Since(before) > 0 {
					t.Error("asked a driver that is known to be down")
				}
				time.Sleep(time.Minute) // of the bubble
				if n := m.probed.Load(); n < 30 || n > 70 {
					t.Errorf("%d probes in a minute", n)
				}
				m.be(nil)
				time.Sleep(2 * time.Second)
				if err := errors.Join(s.tryGet(), s.Healthy()); err != nil {
					t.Error(err)
				}
				var said []string
				for _, line := range hook.AllEntries() {
					said = append(said, line.Message)
				}
				if len(said) != 2 || said[0] != "store is down" || said[1] != "store is up again" {
					t.Errorf("the log says %q", said)
				}
				if st := s.Status(); !st.OK || time.Since(st.Since) > 3*time.Second || st.Error == "" || st.Errors < 30 {
					t.Errorf("got %+v", st)
				}
			})
		})
	}
}

// TestBadLuck: single failures do no harm, and the caller's own end is none.
func TestBadLuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, s, _ := newMoody(t)
		defer s.Close()
		for range 20 {
			m.be(fails)
			for range tolerated {
				if err := s.tryGet(); !errors.Is(err, errMood) {
					t.Errorf("got %v", err)
				}
			}
			m.be(nil)
			if err := s.tryGet(); err != nil {
				t.Error(err)
			}
		}
		m.be(stalls)
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if _, _, err := s.Get(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			cancel()
		}
		if err := s.Healthy(); err != nil {
			t.Error(err)
		}
	})
}

// TestProbesFindOut: without any mail, the status tells of an outage all the same.
func TestProbesFindOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, s, _ := newMoody(t)
		defer s.Close()
		began := time.Now()
		m.be(fails)
		time.Sleep(2 * probeEvery)
		if err := s.Healthy(); !errors.Is(err, ErrDown) || !errors.Is(err, errMood) {
			t.Errorf("got %v", err)
		}
		if st := s.Status(); st.OK || st.Since.Sub(began) > probeEvery || st.Error == "" {
			t.Errorf("got %+v", st)
		}
	})
}

// TestTrouble: what works with a fault goes on working, and the operator is told.
func TestTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, s, _ := newMoody(t)
		defer s.Close()
		if err := s.Put(t.Context(), "a", nil, time.Hour); err != nil {
			t.Fatal(err)
		}
		m.ill.Store(&errMood)
		if err := s.Healthy(); !errors.Is(err, errMood) {
			t.Errorf("got %v", err)
		}
		if err := s.tryGet(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * probeEvery)
		if st := s.Status(); st.OK || st.Error == "" || st.Records != 1 || st.Octets <= 0 {
			t.Errorf("got %+v", st)
		}
	})
}

func TestClosed(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"memory", "embedded"} {
		s := open(t, Config{Driver: driver, Path: t.TempDir()})
		for range 2 {
			if err := s.Close(); err != nil {
				t.Errorf("%s: %v", driver, err)
			}
		}
		if err := s.tryGet(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: got %v", driver, err)
		}
		if s.Status().OK {
			t.Errorf("%s: a closed store is well", driver)
		}
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{Driver: "sqlite"}, {Driver: "memory", Timeout: -1}, {Path: "/dev/null/x"}, {Driver: "memory", MaxRecords: -1}} {
		if s, err := Open(cfg); err == nil {
			s.Close()
			t.Errorf("%+v was taken", cfg)
		}
	}
}
