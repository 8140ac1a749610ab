package replay

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"milterd/milter/resolver"
	"milterd/milter/resolver/dnstest"
)

// BenchmarkReplay judges archives without the DNS. It reports messages per second and the peak of the heap.
func BenchmarkReplay(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "mbox")
			writeArchive(b, path, n)
			cfg := configOf(b, "a.yaml", "actions: {first-contact: greylist}")
			b.ResetTimer()
			var peak uint64
			for b.Loop() {
				stop := watchHeap(&peak)
				r, err := Run(context.Background(), Options{Paths: []string{path}, Config: cfg, DNS: NoDNS{}, Now: noon})
				stop()
				if err != nil || r.Judged != n {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
		})
	}
}

// watchHeap sets peak to the highest use of the heap, in bytes, until stop is called.
func watchHeap(peak *uint64) (stop func()) {
	var done atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !done.Load() {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			*peak = max(*peak, m.HeapInuse)
			time.Sleep(20 * time.Millisecond) // of a benchmark, not of a test
		}
	}()
	return func() { done.Store(true); <-ended }
}

// writeArchive writes an mbox file with n messages of 2 KB from 3,000 senders.
func writeArchive(b *testing.B, path string, n int) {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	body := strings.Repeat("Some text of a body, and more text.\n", 40)
	for i := range n {
		l := letter{at: time.Duration(i) * 5 * time.Minute, from: fmt.Sprintf("a@s%d.example", i*7919%3000), id: fmt.Sprintf("<%d@x.example>", i)}
		if i%50 == 0 {
			l.date = "yesterday"
		}
		fmt.Fprintf(w, "From x %s\n%s%s\n", noon.Format(time.ANSIC), l, body)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkReplayDNS judges messages from 500 clients and senders, with an empty cache and a DNS server that
// answers after 20 ms.
func BenchmarkReplayDNS(b *testing.B) {
	const n = 500
	var zone, text strings.Builder
	for i := range n {
		host, client := fmt.Sprintf("mail.s%d.example", i), fmt.Sprintf("9.8.%d.%d", i/200, i%200+1)
		fmt.Fprintf(&zone, "s%d.example. MX 10 %s.\ns%d.example. TXT \"v=spf1 a:%s -all\"\n%s. A %s\n", i, host, i, host, host, client)
		fmt.Fprintf(&zone, "%d.%d.8.9.in-addr.arpa. PTR %s.\n", i%200+1, i/200, host)
		l := letter{at: time.Duration(i) * time.Minute, helo: host, from: fmt.Sprintf("a@s%d.example", i)}
		text.WriteString("From x " + noon.Format(time.ANSIC) + "\n" + strings.ReplaceAll(l.String(), "192.0.2.9", client) + "\n")
	}
	path := file(b, "inbox", text.String())
	server := dnstest.Start(b, zone.String())
	server.Latency(20 * time.Millisecond)
	cfg := configOf(b, "a.yaml", "")
	for b.Loop() {
		dns, err := resolver.New(resolver.Config{Servers: []string{server.Addr}})
		if err != nil {
			b.Fatal(err)
		}
		r, err := Run(context.Background(), Options{Paths: []string{path}, Config: cfg, DNS: dns, Now: noon})
		if err != nil || r.Judged != n || r.Refused > 0 {
			b.Fatalf("%+v, %v", r, err)
		}
		dns.Close()
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
