package callout

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"milterd/checks"
)

func BenchmarkKnownAddress(b *testing.B) {
	l := newLab(b, one, map[string]*server{host: {users: []string{"alice@example.net"}}}, nil)
	l.mail("alice@example.net")
	b.ReportAllocs()
	for b.Loop() {
		r := l.session("alice@example.net")
		r.Stage = checks.RcptTo
		if vs, err := l.c.Check(context.Background(), r); len(vs) > 0 || err != nil {
			b.Fatal(vs, err)
		}
	}
	if l.dials() != 1 {
		b.Errorf("%d connections", l.dials())
	}
}

// BenchmarkSilentHost is ten thousand senders of a silent mail host at once, each of which waits for 100 ms.
func BenchmarkSilentHost(b *testing.B) {
	const mails = 10_000
	for b.Loop() {
		l := newLab(b, one, map[string]*server{host: {says: map[string]string{"greeting": "!silent"}}}, func(s *Settings) { s.PerMX.N = 10_000 })
		var before, during runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var wg sync.WaitGroup
		for i := range mails {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), reserve+100*time.Millisecond)
				defer cancel()
				r := l.session(fmt.Sprintf("bob%d@example.net", i))
				r.Stage = checks.RcptTo
				_, _ = l.c.Check(ctx, r)
			})
		}
		wg.Wait()
		runtime.GC()
		runtime.ReadMemStats(&during)
		b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
		b.ReportMetric(float64(during.HeapAlloc-before.HeapAlloc)/1024, "KiB-live")
		b.ReportMetric(float64(l.dials()), "connections")
	}
}
