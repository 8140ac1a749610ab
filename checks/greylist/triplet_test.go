package greylist_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/greylist"
)

func TestTriplet(t *testing.T) {
	t.Parallel()
	type step struct {
		after time.Duration // since the step before
		reply string        // to RCPT
	}
	const day = 24 * time.Hour
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"deferred, passes when the delay is over, to the second", []step{{0, text(180)}, {179 * time.Second, text(1)}, {time.Second, ""}}},
		{"an early retry does not restart the delay", []step{
			{0, text(180)}, {8 * time.Second, text(172)}, {100 * time.Second, text(72)}, {60 * time.Second, text(12)}, {12 * time.Second, ""},
		}},
		{"passes at the end of the window", []step{{0, text(180)}, {48 * time.Hour, ""}}},
		{"deferred again after the window", []step{{0, text(180)}, {48*time.Hour + time.Second, text(180)}, {3 * time.Minute, ""}}},
		{"an early retry does not extend the window", []step{{0, text(180)}, {time.Minute, text(120)}, {48 * time.Hour, text(180)}}},
		{"passes at once after it has passed", []step{{0, text(180)}, {3 * time.Minute, ""}, {time.Second, ""}, {34 * day, ""}}},
		{"is kept from its last use on", []step{{0, text(180)}, {3 * time.Minute, ""}, {34 * day, ""}, {34 * day, ""}, {34 * day, ""}}},
		{"expires after 35 d without use", []step{{0, text(180)}, {3 * time.Minute, ""}, {35 * day, text(180)}, {3 * time.Minute, ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			p := w.daemon(t)
			for i, s := range c.steps {
				w.now = w.now.Add(s.after)
				wantReply(t, fmt.Sprint("step ", i), w.send(p, plain()).replies[0], s.reply)
			}
		})
	}
}

// TestStoreWithoutExpiry tests that the times in the records apply even if the store does not expire them.
func TestStoreWithoutExpiry(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	w.env.Store = checktest.NewStore(nil) // its clock stands still
	p := w.daemon(t)
	wantHeld(t, "first", w.send(p, plain()), true)
	w.now = w.now.Add(48*time.Hour + time.Second)
	wantHeld(t, "after the window", w.send(p, plain()), true)
	w.now = w.now.Add(3 * time.Minute)
	wantHeld(t, "retry", w.send(p, plain()), false)
	w.now = w.now.Add(35 * 24 * time.Hour)
	wantHeld(t, "after 35 d", w.send(p, plain()), true)
	other := with(func(m *mail) { m.client = "198.51.100.99" })
	wantHeld(t, "another client", w.send(p, other), true)
	w.now = w.now.Add(-300 * 24 * time.Hour)
	if got := w.send(p, other).replies[0]; !strings.Contains(got, " 180 s ") {
		t.Errorf("after the clock was set back: %q", got)
	}
}

func TestInvalidRecordIsReplaced(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	p := w.daemon(t)
	wantHeld(t, "first", w.send(p, plain()), true)
	for r := range w.store.Scan(context.Background(), "") {
		if err := w.store.Put(context.Background(), r.Key, []byte("}"), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	wantReply(t, "invalid record", w.send(p, plain()).replies[0], text(180))
	w.now = w.now.Add(3 * time.Minute)
	wantHeld(t, "retry", w.send(p, plain()), false)
}

// interrupted is a store that calls a function once, before a key with the prefix is read.
type interrupted struct {
	checks.Store
	prefix string
	before func()
}

// Get implements checks.Store.
func (s *interrupted) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if before := s.before; before != nil && strings.HasPrefix(key, s.prefix) {
		s.before = nil
		before()
	}
	return s.Store.Get(ctx, key)
}

// TestRetriesAtTheSameTime tests that two connections which retry the same delivery at the same time both pass.
func TestRetriesAtTheSameTime(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"greylist:pass:", "greylist:wait:", "greylist:client:"} {
		t.Run(prefix, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			other := w.daemon(t)
			wantHeld(t, "first attempt", w.send(other, plain()), true)
			w.now = w.now.Add(4 * time.Minute)
			between := &interrupted{w.store, prefix, func() {
				wantHeld(t, "retry at the other host", w.send(other, plain()), false)
			}}
			w.env.Store = between
			p := w.daemon(t)
			w.env.Store = w.store
			wantHeld(t, "retry", w.send(p, plain()), false)
		})
	}
}

func TestTwoDaemonsWithOneStore(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	one, two := w.daemon(t), w.daemon(t)
	wantHeld(t, "first at one", w.send(one, plain()), true)
	w.now = w.now.Add(time.Minute)
	wantReply(t, "early at two", w.send(two, plain()).replies[0], text(120))
	w.now = w.now.Add(2 * time.Minute)

	// At the same time at both: all pass, and one pass is counted.
	daemons := []*checks.Pipeline{one, two}
	var held atomic.Int32
	together := func(mails func(i int) mail) {
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				if w.send(daemons[i%2], mails(i)).held() {
					held.Add(1)
				}
			})
		}
		wg.Wait()
	}
	together(func(int) mail { return plain() })
	if n := held.Load(); n != 0 {
		t.Errorf("%d of 32 held", n)
	}
	for hour := 1; hour < 5; hour++ {
		wantPasses(t, w, hour)
		w.now = w.now.Add(time.Hour)
		together(func(int) mail { return plain() })
	}
	wantPasses(t, w, 5)

	held.Store(0)
	together(func(i int) mail { return with(func(m *mail) { m.to = []string{fmt.Sprintf("u%d@example.org", i)} }) })
	if n := held.Load(); n != 0 {
		t.Errorf("%d of 32 held after auto_allow", n)
	}
	// Several first attempts make one record.
	together(func(int) mail { return with(func(m *mail) { m.client = "198.51.100.99" }) })
	if n := held.Load(); n != 32 {
		t.Errorf("%d of 32 held at the first attempt", n)
	}
	triplets := 0
	for tr, err := range greylist.List(context.Background(), w.store, w.now, "198.51.100.99") {
		triplets++
		if err != nil || tr.State != greylist.Waiting || !tr.First.Equal(w.now) {
			t.Errorf("%+v, %v", tr, err)
		}
	}
	if triplets != 1 {
		t.Errorf("%d triplets", triplets)
	}
}

func wantPasses(t *testing.T, w *site, want int) {
	t.Helper()
	for c, err := range greylist.Clients(context.Background(), w.store, "") {
		if err != nil || c.Passes != want || c.Identity != "192.0.2.0/24" {
			t.Errorf("got %+v, %v, want %d passes", c, err, want)
		}
	}
}
