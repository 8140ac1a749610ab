package resolver

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"milterd/checks"
)

func TestRenewAsksAnewOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var repaired atomic.Bool
		f := &fake{answer: func(checks.Question) (string, error) {
			if repaired.Load() {
				return "example.org. A 192.0.2.1", nil
			}
			return "NXDOMAIN", nil
		}}
		r := faked(t, f)
		defer r.Close()
		look := func(ctx context.Context, records int, asked int64) {
			t.Helper()
			a, err := r.Lookup(ctx, question)
			if err != nil || len(a.Records) != records || f.asked.Load() != asked {
				t.Errorf("got %v, %v, asked %d times, want %d records and %d", a, err, f.asked.Load(), records, asked)
			}
		}
		look(t.Context(), 0, 1)
		repaired.Store(true)
		look(t.Context(), 0, 1) // what is known
		ctx := Renew(t.Context())
		look(ctx, 1, 2)
		look(ctx, 1, 2) // several checks ask for the same
		look(t.Context(), 1, 2)
		look(Renew(t.Context()), 1, 3)
	})
}
