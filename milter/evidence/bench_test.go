package evidence

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

// BenchmarkFlood has b.N senders over six weeks, each with its own client. A reason applies to two of three. It reports
// the size of the heap, which includes the store, and that of the store; run it with -benchtime 1000000x for a million senders.
func BenchmarkFlood(b *testing.B) {
	now := start.AddDate(0, 0, 7*weeks-1)
	s := checktest.NewStore(func() time.Time { return now })
	c := Open(s, Options{
		Origin: func(_ context.Context, s *checks.Request) Origin {
			return Origin{Client: s.Helo, Sender: s.Envelope.MailFrom.Domain, Verified: true, SPF: true, Pairs: []string{s.Envelope.MailFrom.Text + " bob@example.org"}}
		},
		Known: func(context.Context, string, time.Time) (bool, error) { return false, nil },
		Now:   func() time.Time { return now },
	})
	defer c.Close(time.Second)
	var before, current runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	highest := uint64(0)
	b.ResetTimer()
	for i := range b.N {
		name := fmt.Sprintf("mail%d.a-domain-of-spam-%d.example", i, i)
		s := &checks.Session{ID: "test", Time: start.Add(time.Duration(float64(i) / float64(b.N) * weeks * weekSeconds * float64(time.Second))), Helo: name}
		s.Envelope.MailFrom = checks.ParseAddress("offer@" + name)
		if i%3 > 0 {
			c.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{Outcomes: []checks.Outcome{{Check: "helo", Reason: judged, Action: checks.Watch}}})
		}
		c.Accepted(checks.NewRequest(s, checks.EndOfHeader))
		if i%2000 == 1999 { // before the queue is full
			if err := c.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		if i%50_000 == 49_999 {
			b.StopTimer()
			runtime.GC()
			runtime.ReadMemStats(&current)
			highest = max(highest, current.HeapAlloc-min(before.HeapAlloc, current.HeapAlloc))
			b.StartTimer()
		}
	}
	if err := c.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	reportStore(b, s)
	began := time.Now()
	report, _, err := c.Reports(b.Context(), settings(checks.Watch))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(highest)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(c.Lost()), "lost")
	b.ReportMetric(time.Since(began).Seconds(), "report-s")
	b.ReportMetric(float64(report.Reasons[0].Occasions), "occasions")
}

// reportStore reports the size of the evidence in a store.
func reportStore(b *testing.B, s checks.Store) {
	records, size, largest := 0, 0, 0
	for r, err := range s.Scan(b.Context(), prefix) {
		if err != nil {
			b.Fatal(err)
		}
		records++
		size += len(r.Value)
		largest = max(largest, len(r.Value))
	}
	b.ReportMetric(float64(size)/(1<<20), "store-MiB")
	b.ReportMetric(float64(records), "records")
	b.ReportMetric(float64(largest)/(1<<10), "largest-KiB")
}
