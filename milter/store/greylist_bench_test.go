package store

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
	"milterd/milter/store/redistest"
)

// triplets is the number of triplets in the store of BenchmarkGreylist, that of a busy site.
const triplets = 1_000_000

// BenchmarkGreylist measures greylisting decisions with a million triplets in the store: "first" for new triplets,
// "known" for triplets that have passed. It also reports the bytes that a passed triplet takes on the disk or in the
// memory of Redis.
func BenchmarkGreylist(b *testing.B) {
	for _, driver := range []string{"memory", "embedded", "redis"} {
		b.Run(driver, func(b *testing.B) {
			cfg := Config{Driver: driver, Timeout: 10 * time.Second, MaxBytes: 4 << 30}
			switch driver {
			case "embedded":
				cfg.Path = b.TempDir()
			case "redis":
				cfg.URL = redistest.Start(b).URL()
			}
			s, err := Open(cfg)
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
				b.ReportMetric(float64(settledSize(b, s))/triplets, "bytes/triplet")
			})
		})
	}
}

// settledSize returns the size of a store when it has not changed for 11 s, or after a minute.
func settledSize(b *testing.B, s *Store) int64 {
	b.StopTimer()
	defer b.StartTimer()
	size := s.Status().Bytes
	tick := time.NewTicker(11 * time.Second)
	defer tick.Stop()
	for range 5 {
		<-tick.C
		now := s.Status().Bytes
		if now == size {
			break
		}
		size = now
	}
	return size
}

// greylistOn returns the check greylist with a store.
func greylistOn(b *testing.B, s checks.Store) checks.Check {
	b.Helper()
	env := checktest.Env(b, "")
	env.Store = s
	return checktest.Build[greylist.Settings](b, greylist.Info, env, nil)
}

// decide has the check decide about message i at a time. The message must be deferred, or else is delivered.
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

// inParallel calls f for 0 to n-1 from 32 goroutines.
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
