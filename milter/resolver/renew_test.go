package resolver

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
)

func TestRenewAsksEachQuestionOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var repaired atomic.Bool
		f := &fake{answer: func(checks.Question) (string, error) {
			if repaired.Load() {
				return "example.org. A 192.0.2.1", nil
			}
			return "NXDOMAIN", nil
		}}
		r := newFaked(t, f)
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
		look(t.Context(), 0, 1) // cached
		ctx := Renew(t.Context())
		look(ctx, 1, 2)
		look(ctx, 1, 2) // asked already with this context
		look(t.Context(), 1, 2)
		look(Renew(t.Context()), 1, 3)
	})
}

// TestRenewDiscardsQueriesInFlight tests that the answer to a query sent before Renew is neither returned nor cached,
// also for a name that is not spelled canonically.
func TestRenewDiscardsQueriesInFlight(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"mail.example.org", `mail\045x.example.org`} {
		synctest.Test(t, func(t *testing.T) {
			var repaired atomic.Bool
			r := newFaked(t, &fake{answer: func(q checks.Question) (string, error) {
				if repaired.Load() {
					return q.Name + " A 192.0.2.1", nil
				}
				time.Sleep(time.Second)
				return "NXDOMAIN", nil
			}})
			defer r.Close()
			q := checks.Ask(name, dns.TypeA)
			look := func(ctx context.Context, records int) {
				t.Helper()
				if a, err := r.Lookup(ctx, q); err != nil || len(a.Records) != records {
					t.Errorf("%s: %v, %v, want %d records", name, a, err, records)
				}
			}
			look(t.Context(), 0)
			go look(Renew(t.Context()), 0) // before the repair
			time.Sleep(time.Second / 2)
			repaired.Store(true)
			look(Renew(t.Context()), 1)
			time.Sleep(time.Second)
			look(t.Context(), 1)
		})
	}
}
