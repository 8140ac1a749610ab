package evidence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

func TestTheStoreIsDown(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.store.Fail(errors.New("gone"))
	s.mail(1, "own.good.example", "a@good.example", rejected)
	if err := s.Flush(t.Context()); err == nil {
		t.Fatal("Flush returned no error")
	}
	if _, _, err := s.Reports(t.Context(), settings(checks.Watch)); err == nil {
		t.Error("Reports returned no error")
	}
	const beyond = 1000
	for i := range maxPending + beyond {
		s.mail(2, fmt.Sprintf("bot%d.example", i), "x@spam.example", rejected)
		if i%1000 == 0 {
			_ = s.queue.Flush(t.Context(), time.Minute)
		}
	}
	_ = s.queue.Flush(t.Context(), time.Minute)
	if n := len(s.pending.entries); n != maxPending {
		t.Errorf("%d entries pending, want %d", n, maxPending)
	}
	if lost, want := s.Lost(), uint64(beyond+1); lost != want {
		t.Errorf("%d lost, want %d", lost, want)
	}
	s.store.Fail(nil)
	s.setTime(start.AddDate(0, 0, 3))
	if got, want := s.watch().Occasions, maxPending+beyond+1; got != want { // the sums have no bound
		t.Errorf("%d occasions, want %d", got, want)
	}
}

// TestNamesAreKeptAcrossWrites tests that a name has one entry in the store, whatever its bytes: JSON changes some of them.
func TestNamesAreKeptAcrossWrites(t *testing.T) {
	t.Parallel()
	const mails = 3
	for _, name := range []string{"<&>.example", "b\u00fccher.example", "\xff.example", "x" + strings.Repeat("\u00fc", maxName)} {
		s := newSite(t)
		for day := range mails {
			s.setTime(start.AddDate(0, 0, day))
			s.mail(day, name, "a@"+name, rejected)
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		entries, _, err := s.read(t.Context(), s.now())
		if err != nil || len(entries) != 1 || entries[0].Reasons[judged.ID].Refused.N != mails {
			t.Errorf("%.20q: %d entries, %v; want one of %d transactions", name, len(entries), err, mails)
		}
	}
}

// TestTwoHosts has two hosts write to one store at the same time.
func TestTwoHosts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other := s.open(s.store)
	const rounds, each = 20, 10
	var wg sync.WaitGroup
	for host, c := range []*Collector{s.Collector, other} {
		wg.Go(func() {
			for r := range rounds {
				for i := range each {
					talk := session(0, fmt.Sprintf("own.%d.example", host), fmt.Sprintf("a@d%d.example", i))
					talk.Time = start.Add(time.Duration(r) * time.Hour)
					c.Decided(requestOf(talk), checks.Decision{Outcomes: []checks.Outcome{{Check: "helo", Reason: judged, Action: checks.Watch}}})
				}
				if err := c.Flush(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s.setTime(start.AddDate(0, 0, 1))
	for _, c := range []*Collector{s.Collector, other, s.open(s.store)} { // the last one was started after the mail
		r, _, err := c.Reports(t.Context(), settings(checks.Watch))
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, s := range r.Reasons[0].Affected {
			sum += s.Occasions
		}
		if got := r.Reasons[0]; got.Occasions != 2*rounds*each || sum != got.Occasions || got.Clients != 2 || got.Senders != each {
			t.Errorf("got %+v, %d occasions of senders", got, sum)
		}
	}
}

// TestAHostDiedWhileWriting leaves the lock of another host in the store.
func TestAHostDiedWhileWriting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		synctest.Wait() // the first write in the background finds nothing: it would wait for the lock too
		if _, err := s.store.PutNew(t.Context(), lockKey, []byte("another"), lockTTL); err != nil {
			t.Fatal(err)
		}
		s.mail(1, "own.good.example", "a@good.example", watched)
		soon, cancel := context.WithTimeout(t.Context(), 3*lockRetry)
		defer cancel()
		if err := s.Flush(soon); err == nil {
			t.Fatal("Flush returned no error while another host had the lock")
		}
		if holder, _, _ := s.store.Get(t.Context(), lockKey); string(holder) != "another" {
			t.Errorf("%q has the lock of another host", holder)
		}
		s.setTime(start.Add(lockTTL))
		s.flush()
		if _, ok, _ := s.store.Get(t.Context(), lockKey); ok {
			t.Error("the lock remains")
		}
		if len(s.pending.entries) > 0 {
			t.Error("the entry is not written")
		}
	})
}

// TestFlood has a great many senders, each of which comes once, and a few others that come every day.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const flood = 12_000 // half as many again as there is room for
	for i := range flood {
		day := i * 7 / flood
		name := fmt.Sprintf("%d.%s.example", i, strings.Repeat("long-", 50))
		s.mail(day, "own."+name, "x@"+name, watched, did{fault, checks.Watch})
		if i%(flood/70) == 0 {
			s.mail(day, "own.good.example", "a@good.example")
			s.mail(day, "own.partner.example", "a@partner.example", watched)
		}
		if i%1000 == 0 { // before the queue is full
			if err := s.queue.Flush(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.write("a@partner.example")
	s.flush()
	records, size := 0, 0
	for r, err := range s.store.Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		records++
		size += len(r.Value)
	}
	if records > buckets+1 || size > buckets*bucketBytes {
		t.Errorf("%d records, %d bytes", records, size)
	}
	s.setTime(start.AddDate(0, 0, 6))
	got := s.watch()
	if good := goodNames(got.Affected); s.Lost() > 0 || !slices.Equal(good, []string{"partner.example answered"}) {
		t.Errorf("%d lost, good are %q", s.Lost(), good)
	}
	if got.Occasions != flood+got.Good || len(got.Affected) > maxSenders {
		t.Errorf("%d occasions, %d senders named", got.Occasions, len(got.Affected))
	}
}

// TestClockJumps shows that mail from a time when the clock was wrong is in no report of another time, and that no
// other mail is lost.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for name, jump := range checktest.Jumps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			steady := s.now()
			s.Collector = s.open(checktest.NewStore(func() time.Time { return steady })) // the store has its own clock
			off := int(jump / (24 * time.Hour))
			for day := range 3 {
				s.mail(3+day, "own.good.example", "x@good.example", watched)
				s.flush()
				s.mail(3+day+off, "own.good.example", "x@good.example", watched)
				s.flush()
			}
			s.setTime(start.AddDate(0, 0, 10))
			want := 3
			if jump.Abs() < 35*24*time.Hour {
				want = 6
			}
			if got := s.watch().Occasions; got != want || s.Lost() > 0 {
				t.Errorf("%d occasions, want %d; %d lost", got, want, s.Lost())
			}
		})
	}
}

// failingStore is a store whose lock fails until it is repaired. It counts the attempts.
type failingStore struct {
	checks.Store
	mu       sync.Mutex
	attempts int
	repaired bool
}

func (s *failingStore) PutNew(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts++
	if !s.repaired {
		return false, errors.New("gone")
	}
	return s.Store.PutNew(ctx, key, value, ttl)
}

// newAttempts returns the number of attempts since the last call.
func (s *failingStore) newAttempts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.attempts
	s.attempts = 0
	return n
}

func (s *failingStore) repair() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repaired = true
}

// TestRetryAfterFailure shows that much pending evidence is written at once, but that a store that failed is tried
// again at the next tick only.
func TestRetryAfterFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &failingStore{Store: checktest.NewStore(time.Now)}
		c := Open(store, Options{Origin: func(context.Context, *checks.Request) Origin { return Origin{} }})
		defer c.Close(time.Second)
		fill := func() {
			c.mu.Lock()
			for i := range maxPending / 2 {
				c.addPending(week(time.Now()), &entry{Client: fmt.Sprintf("host%d.example", i)})
			}
			c.mu.Unlock()
			c.flushIfMuch()
			c.flushIfMuch()
		}
		want := func(when string, attempts, pending int) {
			t.Helper()
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			if n := store.newAttempts(); n != attempts || len(c.pending.entries) != pending {
				t.Errorf("%s: %d attempts, want %d; %d pending, want %d", when, n, attempts, len(c.pending.entries), pending)
			}
		}
		want("nothing pending", 0, 0)
		fill()
		want("much pending", 1, maxPending/2)
		time.Sleep(flushInterval + flushInterval/2) // from here on between ticks
		want("after a tick", 1, maxPending/2)
		time.Sleep(9 * flushInterval)
		want("after nine more", 9, maxPending/2)
		store.repair()
		time.Sleep(flushInterval)
		want("repaired", 1, 0)
		fill()
		want("much pending again", 1, 0)
	})
}
