package records

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

// countKeys returns the number of keys with a prefix.
func countKeys(t *testing.T, store checks.Store, prefix string) (n int) {
	t.Helper()
	for _, err := range store.Scan(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// TestMax tests that Options.Max records are found, and that the store has only a few blocks more.
func TestMax(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	l := open(t, store, 5)
	const n = 5 * blockSize
	var ids []string
	for i := range n {
		ids = append(ids, NewID(noon))
		l.Decided(checks.NewRequest(mail("192.0.2.9", "h", "a@example.com", fmt.Sprintf("u%d@example.org", i)), checks.RcptTo), refused(ids[i]))
	}
	list, err := l.Find(t.Context(), Query{})
	if err != nil || len(list) != 5 || list[0].ID != ids[n-1] || list[4].ID != ids[n-5] {
		t.Errorf("%d records, %v", len(list), err)
	}
	if _, ok, _ := l.Get(t.Context(), ids[n-5]); !ok {
		t.Error("the fifth last record is gone")
	}
	if _, ok, _ := l.Get(t.Context(), ids[n-6]); ok {
		t.Error("the sixth last record is kept")
	}
	if kept, most := countKeys(t, store, idKey), 2*blockSize; kept < 5 || kept > most {
		t.Errorf("%d ids in the store, want 5 to %d", kept, most)
	}
	if parts := countKeys(t, store, partKey); parts > 2*n/blockSize {
		t.Errorf("%d parts in the store", parts)
	}
}

// TestHostsShareAStore writes by several Logs at the same time, each of which is started again and again.
func TestHostsShareAStore(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	const hosts, rounds, each = 3, 4, 40
	var writing sync.WaitGroup
	for h := range hosts {
		writing.Go(func() {
			for range rounds {
				l := Open(store, Options{Keep: 14 * day, Max: 1000, Now: func() time.Time { return noon }})
				for i := range each {
					l.Decided(checks.NewRequest(mail("192.0.2.9", "h", "", fmt.Sprintf("u%d@host%d.example", i, h)), checks.RcptTo), refused(NewID(noon)))
					if i%7 == 0 { // have the hosts write in turn
						_ = l.queue.Flush(t.Context(), flushTimeout)
					}
				}
				l.Close(time.Minute)
			}
		})
	}
	writing.Wait()
	l := open(t, store, 1000)
	list, err := l.Find(t.Context(), Query{})
	if err != nil || len(list) != hosts*rounds*each {
		t.Fatalf("%d records of %d, %v", len(list), hosts*rounds*each, err)
	}
	for i, r := range list {
		if want := int64(len(list) - i); r.Number != want {
			t.Fatalf("record %d has the number %d", want, r.Number)
		}
		if again, ok, err := l.Get(t.Context(), r.ID); !ok || err != nil || again.Number != r.Number {
			t.Fatalf("Get(%s): %v, %v", r.ID, ok, err)
		}
	}
}

// TestLongRecordsNeedMoreParts writes a block of records that are too long for one part.
func TestLongRecordsNeedMoreParts(t *testing.T) {
	t.Parallel()
	l := open(t, checktest.NewStore(nil), 100)
	long := strings.Repeat("x", maxValue)
	const n = 90
	for range n {
		d := refused(NewID(noon))
		d.Outcomes[0].Detail = map[string]string{}
		for i := range 40 {
			d.Outcomes[0].Detail[fmt.Sprint(i)] = long
		}
		l.Decided(checks.NewRequest(mail("192.0.2.9", "h", "", "bob@example.org"), checks.RcptTo), d)
	}
	if list, err := l.Find(t.Context(), Query{}); err != nil || len(list) != n {
		t.Errorf("%d records, %v, %+v", len(list), err, l.Stats())
	}
}

// TestPartAge shows that a part is added to for an hour only. Each addition extends the time that the store keeps all
// of the part: on a quiet host, where a block takes weeks to fill, its first record would stay until long after its
// time.
func TestPartAge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		waits []time.Duration // before each record
		parts int
	}{
		{"at once", []time.Duration{0, 0, 0}, 1},
		{"within the hour", []time.Duration{0, maxPartAge / 2, maxPartAge / 2}, 1},
		{"after it", []time.Duration{0, maxPartAge + time.Second}, 2},
		{"after it, in several steps", []time.Duration{0, maxPartAge / 2, maxPartAge/2 + time.Second}, 2},
		{"second part", []time.Duration{0, maxPartAge + time.Second, maxPartAge, time.Second}, 3},
		{"clock set back by an hour", []time.Duration{0, -maxPartAge}, 1},
		{"clock set back by more", []time.Duration{0, -maxPartAge - time.Second}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var clock checktest.Clock
			store := checktest.NewStore(nil) // one in which nothing expires
			l := Open(store, Options{Keep: 14 * day, Max: 100, Now: clock.Now})
			defer l.Close(time.Minute)
			for _, wait := range c.waits {
				clock.Advance(wait)
				l.Decided(checks.NewRequest(mail("192.0.2.9", "h", "", ""), checks.RcptTo), refused(""))
				flush(t, l)
			}
			parts := countKeys(t, store, partKey)
			if list, err := l.Find(t.Context(), Query{}); parts != c.parts || len(list) != len(c.waits) || err != nil {
				t.Errorf("%d records in %d parts, %v; want %d in %d", len(list), parts, err, len(c.waits), c.parts)
			}
		})
	}
}

// lossyStore fails to write one of the ids.
type lossyStore struct {
	checks.Store
	puts atomic.Int64
}

func (s *lossyStore) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if strings.HasPrefix(key, idKey) && s.puts.Add(1) == 2 {
		return errors.New("timeout")
	}
	return s.Store.Put(ctx, key, value, ttl)
}

func TestALostIDLosesNoRecord(t *testing.T) {
	t.Parallel()
	l := open(t, &lossyStore{Store: checktest.NewStore(nil)}, 1000)
	const n = 10
	var ids []string
	for range n {
		ids = append(ids, NewID(noon))
		l.Decided(checks.NewRequest(mail("192.0.2.9", "h", "", ""), checks.RcptTo), refused(ids[len(ids)-1]))
	}
	list, err := l.Find(t.Context(), Query{})
	byID := 0
	for _, id := range ids {
		if _, ok, _ := l.Get(t.Context(), id); ok {
			byID++
		}
	}
	if s := l.Stats(); err != nil || len(list) != n || byID != n-1 || s.Written != n || s.Dropped != 0 {
		t.Errorf("%d records, %d by their id, %+v, %v", len(list), byID, s, err)
	}
}
