package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/greylist"
	"milterd/checks/rdns"
	"milterd/milter/store"
	"milterd/milter/store/redistest"
)

// triplets is how many the store of BenchmarkGreylist knows: a busy site's.
const triplets = 1_000_000

// BenchmarkGreylist is what greylisting costs with a million triplets, one operation being the decision about one
// recipient: "first" about triplets never seen, "known" about such as have passed. Octets are of the disk, or of the memory
// of Redis, with all that the check keeps for a triplet that has passed.
func BenchmarkGreylist(b *testing.B) {
	for _, driver := range []string{"memory", "embedded", "redis"} {
		b.Run(driver, func(b *testing.B) {
			cfg := store.Config{Driver: driver, Timeout: 10 * time.Second, MaxRecords: 4 * triplets, MaxOctets: 4 << 30}
			switch driver {
			case "embedded":
				cfg.Path = b.TempDir()
			case "redis":
				cfg.URL = redistest.Start(b).URL()
			}
			s, err := store.Open(cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			c := greylistOn(b, s)
			began := time.Now()
			inParallel(b, triplets, func(i int) error { return decide(c, i, began, true) })
			inParallel(b, triplets, func(i int) error { return decide(c, i, began.Add(5*time.Minute), false) })
			b.Run("first", func(b *testing.B) {
				inParallel(b, b.N, func(i int) error { return decide(c, -1-i, began, true) })
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
			})
			b.Run("known", func(b *testing.B) {
				inParallel(b, b.N, func(i int) error { return decide(c, i%triplets, began.Add(time.Hour), false) })
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
				b.ReportMetric(float64(settledSize(b, s))/triplets, "octets/triplet")
			})
		})
	}
}

// settledSize is the size of a store when its own figure, which a probe takes each 10 s, no longer moves, or after a minute.
func settledSize(b *testing.B, s *store.Store) int64 {
	b.StopTimer()
	defer b.StartTimer()
	size := s.Status().Octets
	tick := time.NewTicker(11 * time.Second)
	defer tick.Stop()
	for range 5 {
		<-tick.C
		now := s.Status().Octets
		if now == size {
			break
		}
		size = now
	}
	return size
}

func greylistOn(b *testing.B, s checks.Store) checks.Check {
	b.Helper()
	env := checktest.Env(b, "")
	env.Store = s
	return checktest.Build[greylist.Settings](b, greylist.Info, env, nil)
}

// decide is message i at a time: it has to wait, or else is delivered.
func decide(c checks.Check, i int, at time.Time, waits bool) error {
	ctx := context.Background()
	s := &checks.Session{ID: "bench", Time: at, Client: netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), 1})}
	s.Envelope.MailFrom = checks.ParseAddress(fmt.Sprintf("<user%d@sender.example>", i))
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("<user@example.org>")}}
	r := checks.NewRequest(s, checks.RcptTo, checks.Verdict{Reason: rdns.Info.Reasons[0]})
	vs, err := c.Check(ctx, r)
	if err == nil && len(vs) > 0 != waits {
		err = fmt.Errorf("message %d: verdicts %v", i, vs)
	}
	if !waits {
		c.(checks.Observer).Observe(ctx, r, checks.Event{Kind: checks.Accepted})
	}
	return err
}

// inParallel runs f for 0..n-1 in 32 goroutines, as so many sessions would.
func inParallel(b *testing.B, n int, f func(int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
