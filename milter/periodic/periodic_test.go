package periodic_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"milterd/milter/periodic"
)

// TestRun tests that the function is called at once and at each interval, for as long as the timeout, and not after the end of the
// context.
func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
		defer cancel()
		began, calls := time.Now(), 0
		periodic.Run(ctx, 10*time.Second, time.Second, func(ctx context.Context) {
			<-ctx.Done()
			calls++
		})
		if took := time.Since(began); calls != 4 || took != 35*time.Second {
			t.Errorf("%d calls in %s", calls, took)
		}
	})
}
