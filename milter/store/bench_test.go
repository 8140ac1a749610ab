package store

import (
	"strconv"
	"testing"
	"time"

	"milterd/milter/miltertest"
)

// BenchmarkStore measures the frequent operations: reading a record that exists, one that was read before and does not
// exist (absent), one that was never read (new), and changing a record.
func BenchmarkStore(b *testing.B) {
	for _, driver := range []string{"memory", "embedded"} {
		b.Run(driver, func(b *testing.B) {
			cfg := Config{Driver: driver}
			if driver == "embedded" {
				cfg.Path = b.TempDir()
			}
			s := open(b, cfg)
			ctx := b.Context()
			const keys = 1000
			names := make([]string, keys)
			for i := range names {
				names[i] = "bench:" + strconv.Itoa(i)
				if err := s.Put(ctx, names[i], make([]byte, 100), time.Hour); err != nil {
					b.Fatal(err)
				}
			}
			miltertest.Eventually(b, "all is written", func() bool { return driver == "memory" || settled(s) })
			get := func(key string) bool {
				_, ok, err := s.Get(ctx, key)
				if err != nil {
					b.Fatal(err)
				}
				return ok
			}
			for _, op := range []struct {
				name string
				do   func(i int)
			}{
				{"present", func(i int) { get(names[i%keys]) }},
				{"absent", func(i int) { get("absent:" + strconv.Itoa(i%keys)) }},
				{"new", func(i int) { get("new:" + strconv.Itoa(i)) }},
				{"put", func(i int) { _ = s.Put(ctx, names[i%keys], []byte("1"), time.Hour) }},
				{"add", func(i int) { _, _ = s.Add(ctx, "counter:"+strconv.Itoa(i%keys), 1, time.Hour) }},
			} {
				b.Run(op.name, func(b *testing.B) {
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						op.do(i)
					}
				})
			}
		})
	}
}
