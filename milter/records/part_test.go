package records

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks/checktest"
)

// TestAPartIsOpenForAnHour: with each record a part is kept for longer, all of it. On a quiet host, where a block takes weeks to
// fill, the first record of it would stay until long after its time.
func TestAPartIsOpenForAnHour(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		waits []time.Duration // before each record
		parts int
	}{
		{"at once", []time.Duration{0, 0, 0}, 1},
		{"just within the hour", []time.Duration{0, partFor / 2, partFor / 2}, 1},
		{"beyond it", []time.Duration{0, partFor + time.Second}, 2},
		{"beyond it, though none waits so long", []time.Duration{0, partFor / 2, partFor/2 + time.Second}, 2},
		{"the second part is open for an hour too", []time.Duration{0, partFor + time.Second, partFor, time.Second}, 3},
		{"the clock is put back a little", []time.Duration{0, -partFor}, 1},
		{"the clock is put back", []time.Duration{0, -partFor - time.Second}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var passed atomic.Int64
			now := func() time.Time { return noon.Add(time.Duration(passed.Load())) }
			store := checktest.NewStore(nil) // where nothing expires
			b := Open(store, Options{Keep: 14 * day, Max: 100, Now: now})
			defer b.Close(5 * time.Second)
			for i, wait := range c.waits {
				passed.Add(int64(wait))
				b.Decided(mail("192.0.2.9", "h", "", ""), refused(""))
				settle(t, b, uint64(i+1))
			}
			parts := 0
			for r, err := range store.Scan(t.Context(), blockKey) {
				if err != nil || !strings.HasPrefix(r.Key, blockKey+"0:") {
					t.Fatal(r.Key, err)
				}
				parts++
			}
			if list, err := b.Find(t.Context(), Query{}); parts != c.parts || len(list) != len(c.waits) || err != nil {
				t.Errorf("%d records in %d parts, %v; want %d in %d", len(list), parts, err, len(c.waits), c.parts)
			}
		})
	}
}
