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
)

// BenchmarkReplay judges archives without the DNS. Beside messages per second it tells the peak of the heap that is in use,
// which must not grow with the archive.
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
				r, err := Run(context.Background(), Options{Paths: []string{path}, Config: cfg, DNS: Nobody{}, Workers: Workers(), Now: noon})
				stop()
				if err != nil || r.Judged != n {
					b.Fatal(err)
				}
				r.Close()
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
		})
	}
}

// watchHeap notes the highest use of the heap until stop is called.
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

// writeArchive writes an mbox file with n messages of two kilobytes from three thousand senders.
func writeArchive(b *testing.B, path string, n int) {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	body := strings.Repeat("Some text of a body, which goes on.\n", 40)
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
