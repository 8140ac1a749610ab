package periodic_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"milterd/milter/periodic"
)

// TestRun tests that the function is called at each interval, and not after the end of the context.
func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
		defer cancel()
		calls := 0
		periodic.Run(ctx, 10*time.Second, func() { calls++ })
		if calls != 3 {
			t.Errorf("%d calls in 35 s", calls)
		}
	})
}
