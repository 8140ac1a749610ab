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

	"milterd/checks"
)

// faultyDriver is a memory driver whose operations and probes can be made to fail.
type faultyDriver struct {
	*memory
	behaviour    atomic.Pointer[func(context.Context) error] // works, fails, stalls or panics
	operations   atomic.Int64
	probes       atomic.Int64
	degradedWith fault
}

var errTest = errors.New("test")

func fails(context.Context) error { return errTest }

func stalls(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func panics(context.Context) error { panic("oops") }

func works(context.Context) error { return nil }

func (d *faultyDriver) behave(f func(context.Context) error) { d.behaviour.Store(&f) }

func (d *faultyDriver) get(ctx context.Context, key string) ([]byte, bool, error) {
	d.operations.Add(1)
	if err := (*d.behaviour.Load())(ctx); err != nil {
		return nil, false, err
	}
	return d.memory.get(ctx, key)
}

func (d *faultyDriver) probe(ctx context.Context) error {
	d.probes.Add(1)
	return (*d.behaviour.Load())(ctx)
}

func (d *faultyDriver) degraded() error { return d.degradedWith.get() }

// newFaulty returns a driver that works, and a store on it.
func newFaulty(t *testing.T) (*faultyDriver, *Store, *logtest.Hook) {
	t.Helper()
	log, hook := logtest.NewNullLogger()
	cfg := Config{Driver: "memory", Log: logrus.NewEntry(log)}.withDefaults()
	d := &faultyDriver{memory: newMemory(cfg)}
	d.behave(works)
	return d, newStore(d, cfg), hook
}

// tryGet returns the error of a Get.
func (s *Store) tryGet() error {
	_, _, err := s.Get(context.Background(), "a")
	return err
}

// healthy returns nil, or why operations fail, or why changes are not on the disk yet.
func (s *Store) healthy() error { return errors.Join(s.breaker.admit(), s.driver.degraded()) }

func TestOutage(t *testing.T) {
	t.Parallel()
	for name, behaviour := range map[string]func(context.Context) error{"fails": fails, "stalls": stalls, "panics": panics} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d, s, hook := newFaulty(t)
				defer s.Close()
				d.behave(behaviour)
				began := time.Now()
				for range toleratedFailures + 1 {
					if err := s.tryGet(); err == nil || errors.Is(err, checks.ErrStoreDown) {
						t.Errorf("got %v", err)
					}
				}
				if d := time.Since(began); d > 1500*time.Millisecond {
					t.Errorf("took %v", d)
				}
				operations, before := d.operations.Load(), time.Now()
				for range 100 {
					if err := s.tryGet(); !errors.Is(err, checks.ErrStoreDown) {
						t.Errorf("got %v", err)
					}
				}
				if d.operations.Load() != operations || time.Since(before) > 0 {
					t.Error("used a driver during an outage")
				}
				time.Sleep(time.Minute) // of synctest
				if n := d.probes.Load(); n < 30 || n > 70 {
					t.Errorf("%d probes in a minute", n)
				}
				d.behave(works)
				time.Sleep(2 * time.Second)
				if err := errors.Join(s.tryGet(), s.healthy()); err != nil {
					t.Error(err)
				}
				var logged []string
				for _, line := range hook.AllEntries() {
					logged = append(logged, line.Message)
				}
				if len(logged) != 2 || logged[0] != "store is down" || logged[1] != "store is up again" {
					t.Errorf("logged %q", logged)
				}
				if st := s.Status(); !st.OK || time.Since(st.Since) > 3*time.Second || st.Error == "" || st.Errors < 30 {
					t.Errorf("got %+v", st)
				}
			})
		})
	}
}

// TestSingleFailuresAreNoOutage tests that neither two failures in a row nor the end of the caller's context begin an
// outage.
func TestSingleFailuresAreNoOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, s, _ := newFaulty(t)
		defer s.Close()
		for range 20 {
			d.behave(fails)
			for range toleratedFailures {
				if err := s.tryGet(); !errors.Is(err, errTest) {
					t.Errorf("got %v", err)
				}
			}
			d.behave(works)
			if err := s.tryGet(); err != nil {
				t.Error(err)
			}
		}
		d.behave(stalls)
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if _, _, err := s.Get(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			cancel()
		}
		if err := s.healthy(); err != nil {
			t.Error(err)
		}
	})
}

// TestProbesFindOutages tests that an outage is found without operations.
func TestProbesFindOutages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, s, _ := newFaulty(t)
		defer s.Close()
		began := time.Now()
		d.behave(fails)
		time.Sleep(2 * probeEvery)
		if err := s.healthy(); !errors.Is(err, checks.ErrStoreDown) || !errors.Is(err, errTest) {
			t.Errorf("got %v", err)
		}
		if st := s.Status(); st.OK || st.Since.Sub(began) > probeEvery || st.Error != errTest.Error() {
			t.Errorf("got %+v, want the cause alone", st)
		}
		root := errors.New("the disk is full")
		d.degradedWith.set(root)
		if st := s.Status(); st.OK || st.Error != root.Error() {
			t.Errorf("got %+v, want the cause of the failed operations", st)
		}
	})
}

// TestDegradedStore tests that a degraded store works and reports its fault.
func TestDegradedStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, s, _ := newFaulty(t)
		defer s.Close()
		if err := s.Put(t.Context(), "a", nil, time.Hour); err != nil {
			t.Fatal(err)
		}
		since := func(when string, ok bool) {
			t.Helper()
			time.Sleep(2 * probeEvery)
			if st := s.Status(); st.OK != ok || time.Since(st.Since) > 2*probeEvery {
				t.Errorf("%s: got %+v after %v", when, st, time.Since(st.Since))
			}
		}
		time.Sleep(time.Minute)
		d.degradedWith.set(errTest)
		if err := s.tryGet(); err != nil {
			t.Error(err)
		}
		since("degraded", false)
		if st := s.Status(); st.Error != errTest.Error() || st.Records != 1 || st.Bytes <= 0 {
			t.Errorf("got %+v", st)
		}
		time.Sleep(time.Minute)
		d.degradedWith.clear()
		since("as before", true)
	})
}

func TestOperationsAfterClose(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"memory", "embedded"} {
		s := open(t, Config{Driver: driver, Path: t.TempDir()})
		for range 2 {
			if err := s.Close(); err != nil {
				t.Errorf("%s: %v", driver, err)
			}
		}
		if err := s.tryGet(); !errors.Is(err, errClosed) {
			t.Errorf("%s: got %v", driver, err)
		}
		if s.Status().OK {
			t.Errorf("%s: a closed store is OK", driver)
		}
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{Driver: "sqlite"}, {Path: "/dev/null/x"}} {
		if s, err := Open(cfg); err == nil {
			s.Close()
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
