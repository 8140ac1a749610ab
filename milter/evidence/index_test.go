package evidence

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"milterd/checks"
	"milterd/checks/checktest"
)

// slowStore is a store that takes some time for each Get. Until the time well, Get fails at once, or hangs if hangs is true.
type slowStore struct {
	checks.Store
	delay time.Duration
	well  time.Time
	hangs bool
	gets  atomic.Int64 // that began
}

func (s *slowStore) Get(ctx context.Context, key string) ([]byte, bool, error) {
	s.gets.Add(1)
	delay := s.delay
	if time.Now().Before(s.well) {
		if !s.hangs {
			return nil, false, errors.New("gone")
		}
		delay = time.Hour
	}
	select {
	case <-time.After(delay):
		return s.Store.Get(ctx, key)
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// TestFirstReading tests how long Open waits for the first reading, when that ends, and what the log says of it.
func TestFirstReading(t *testing.T) {
	t.Parallel()
	const keys = weeks * (buckets + 1)
	for _, c := range []struct {
		name         string
		delay        time.Duration
		broken       time.Duration // since the start
		hangs        bool
		opened, read time.Duration // since the start
		gets         int64
		want         string // levels of the lines
	}{
		{"fast", time.Millisecond, 0, false, keys * time.Millisecond, keys * time.Millisecond, keys, ""},
		{"slow", 2 * time.Millisecond, 0, false, firstTimeout, keys * 2 * time.Millisecond, keys, ""},
		{"far away", 80 * time.Millisecond, 0, false, firstTimeout, keys * 80 * time.Millisecond, keys, ""},
		{"fails three times", 0, 150 * time.Second, false, 0, 3 * retryInterval, keys + 3, "warning info"},
		{"hangs", 0, time.Minute, true, firstTimeout, refreshTimeout, keys + 1, "warning info"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				store := &slowStore{Store: checktest.NewStore(nil), delay: c.delay, well: began.Add(c.broken), hangs: c.hangs}
				log, hook := logtest.NewNullLogger()
				e := Open(store, Options{Log: logrus.NewEntry(log)})
				defer e.Close(time.Minute)
				if took := time.Since(began); took != c.opened {
					t.Errorf("Open took %v, want %v", took, c.opened)
				}
				if c.read > c.opened {
					time.Sleep(c.read - c.opened - time.Nanosecond)
					if e.Unread() == nil {
						t.Errorf("read before %v", c.read)
					}
					time.Sleep(time.Nanosecond)
					synctest.Wait()
				}
				if err := e.Unread(); err != nil || store.gets.Load() != c.gets {
					t.Errorf("after %v: %v, %d Gets, want %d", c.read, err, store.gets.Load(), c.gets)
				}
				var lines []string
				for _, l := range hook.AllEntries() {
					lines = append(lines, l.Level.String())
				}
				if strings.Join(lines, " ") != c.want {
					t.Errorf("logged %q, want %q", lines, c.want)
				}
			})
		})
	}
}

// TestLaterReading tests the lines of the log when a later reading fails, and that the end of the Collector is no failure.
func TestLaterReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := checktest.NewStore(nil)
		log, hook := logtest.NewNullLogger()
		slow := &slowStore{Store: store, delay: time.Millisecond}
		c := Open(slow, Options{Log: logrus.NewEntry(log)})
		store.Fail(errors.New("gone"))
		time.Sleep(refreshInterval + 2*retryInterval)
		store.Fail(nil)
		time.Sleep(2 * retryInterval)
		var got []string
		for _, l := range hook.AllEntries() {
			got = append(got, l.Message)
		}
		want := []string{
			"cannot read the known relays and good senders from the store: those of the last reading count",
			"the known relays and good senders are read again from the store",
		}
		if !slices.Equal(got, want) || c.Unread() != nil {
			t.Errorf("logged %q, want %q", got, want)
		}
		hook.Reset()
		gets := slow.gets.Load()
		time.Sleep(refreshInterval)
		if slow.gets.Load() == gets {
			t.Error("not read again after an hour")
		}
		c.Close(time.Minute)
		slow.delay = time.Second
		Open(slow, Options{Log: logrus.NewEntry(log)}).Close(time.Minute)
		if lines := hook.AllEntries(); len(lines) > 0 {
			t.Errorf("logged %q", lines[0].Message)
		}
	})
}
