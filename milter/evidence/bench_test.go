package evidence

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"milterd/checks"
	"milterd/milter/store"
)

// BenchmarkFlood has as many senders as there are rounds come over six weeks, each of a client of its own, two of three for whom a
// reason applies, and tells what that takes of the memory and of the store: with -benchtime 1000000x, of a million.
func BenchmarkFlood(b *testing.B) {
	s, err := store.Open(store.Config{Driver: "embedded", Path: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	book := Open(s, Options{
		Who: func(_ context.Context, s *checks.Request) Who {
			return Who{Client: s.Helo, Sender: s.Envelope.MailFrom.Domain, Own: true, SPF: true, Pairs: []string{s.Envelope.MailFrom.Text + " bob@example.org"}}
		},
		Known: func(context.Context, string, time.Time) (bool, error) { return false, nil },
		Now:   func() time.Time { return start.AddDate(0, 0, 7*weeks-1) },
	})
	defer book.Close(time.Second)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	highest := uint64(0)
	b.ResetTimer()
	for i := range b.N {
		name := fmt.Sprintf("mail%d.a-domain-of-spam-%d.example", i, i)
		s := &checks.Session{ID: "test", Time: start.Add(time.Duration(float64(i) / float64(b.N) * weeks * weekSeconds * float64(time.Second))), Helo: name}
		s.Envelope.MailFrom = checks.ParseAddress("offer@" + name)
		if i%3 > 0 {
			book.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{Outcomes: []checks.Outcome{{Check: "helo", Reason: judged, Action: checks.Watch}}})
		}
		book.Accepted(checks.NewRequest(s, checks.EndOfHeader))
		if i%2000 == 1999 { // no faster than it is found out and written
			if err := book.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		if i%50_000 == 49_999 {
			b.StopTimer()
			runtime.GC()
			runtime.ReadMemStats(&now)
			highest = max(highest, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
			b.StartTimer()
		}
	}
	if err := book.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	records, octets, largest := 0, 0, 0
	for r, err := range s.Scan(b.Context(), prefix) {
		if err != nil {
			b.Fatal(err)
		}
		records++
		octets += len(r.Value)
		largest = max(largest, len(r.Value))
	}
	began := time.Now()
	report, err := book.Watch(b.Context(), settings(checks.Watch))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(highest)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(octets)/(1<<20), "store-MiB")
	b.ReportMetric(float64(records), "records")
	b.ReportMetric(float64(largest)/(1<<10), "largest-KiB")
	b.ReportMetric(float64(book.Lost()), "lost")
	b.ReportMetric(time.Since(began).Seconds(), "report-s")
	b.ReportMetric(float64(report.Reasons[0].Occasions), "occasions")
}
