package store

import (
	"strconv"
	"testing"
	"time"
)

// TestMemoryIsBounded: what expires soonest goes first.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"records": {MaxRecords: 100},
		"octets":  {MaxOctets: 100 * (overhead + 3 + 10)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg.Driver = "memory"
			s := open(t, cfg)
			ctx := t.Context()
			// Those with even numbers live longer.
			for i := 100; i < 300; i++ {
				if err := s.Put(ctx, strconv.Itoa(i), make([]byte, 10), time.Hour*time.Duration(2-i%2)+time.Duration(i)*time.Second); err != nil {
					t.Fatal(err)
				}
			}
			for i := 100; i < 300; i++ {
				_, ok, err := s.Get(ctx, strconv.Itoa(i))
				if err != nil {
					t.Fatal(err)
				}
				// The last one has just pushed another one out.
				if want := i%2 == 0 && i > 100 || i == 299; ok != want {
					t.Errorf("%d: got %t", i, ok)
				}
			}
			if err := s.Put(ctx, "huge", make([]byte, MaxValue), time.Hour); err != nil {
				t.Error(err)
			}
			records, octets := s.driver.size(ctx)
			if records > 100 || octets > max(cfg.MaxOctets, MaxValue+100*200) {
				t.Errorf("%d records, %d octets", records, octets)
			}
		})
	}
}

// TestMemoryForgets: expired records take no room, whether or not anybody asks for them.
func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := open(t, Config{Driver: "memory", Now: c.Now})
	for i := range 1000 {
		if _, err := s.Add(t.Context(), strconv.Itoa(i), 1, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	c.Advance(time.Minute)
	if records, octets := s.driver.size(t.Context()); records != 0 || octets != 0 {
		t.Errorf("%d records, %d octets are left", records, octets)
	}
}
