package evidence

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

// dead is a store that counts who wants to write, and refuses each until it is mended. After too many it gives in: a book that tries
// without end would hold the clock of the bubble, and the test with it.
type dead struct {
	checks.Store
	mu     sync.Mutex
	tries  int
	mended bool
}

const tooMany = 100

func (d *dead) PutNew(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries++
	if !d.mended && d.tries < tooMany {
		return false, errors.New("gone")
	}
	return d.Store.PutNew(ctx, key, value, ttl)
}

// since tells how often somebody has tried since it was asked last.
func (d *dead) since() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.tries
	d.tries = 0
	return n
}

func (d *dead) mend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mended = true
}

// TestADeadStoreIsTriedNowAndThen: with much to write the store is told at once, but one that does not take it is asked again at the
// next tick, and not all the time; what it did not take is itself much.
func TestADeadStoreIsTriedNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &dead{Store: checktest.NewStore(time.Now)}
		b := Open(store, Options{Who: func(context.Context, *checks.Request) Who { return Who{} }})
		defer b.Close(time.Second)
		fill := func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			for i := range maxPending / 2 {
				b.keep(week(time.Now()), &entry{Client: fmt.Sprintf("host%d.example", i)})
			}
		}
		want := func(what string, tries, waiting int) {
			t.Helper()
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			if n := store.since(); n != tries || len(b.pending.entries) != waiting {
				t.Errorf("%s: tried %d times, want %d; %d wait, want %d", what, n, tries, len(b.pending.entries), waiting)
			}
		}
		want("nothing to write", 0, 0)
		fill()
		want("much to write", 1, maxPending/2)
		time.Sleep(flushEvery + flushEvery/2) // from here on between ticks
		want("the first tick", 1, maxPending/2)
		time.Sleep(9 * flushEvery)
		want("nine more", 9, maxPending/2)
		store.mend()
		time.Sleep(flushEvery)
		want("the store is well again", 1, 0)
		fill()
		want("much to write, as before", 1, 0)
	})
}
