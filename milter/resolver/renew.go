package resolver

import (
	"context"
	"sync"

	"milterd/checks"
)

// Renew returns a context in which Lookup ignores what is cached: each question is asked again, once. The new answers
// replace those in the cache. It is for tests that a domain owner starts after a change of the zone.
func Renew(ctx context.Context) context.Context {
	return context.WithValue(ctx, renewalKey{}, &renewal{asked: map[checks.Question]bool{}})
}

type renewalKey struct{}

// renewal holds the questions that were asked again.
type renewal struct {
	mu    sync.Mutex
	asked map[checks.Question]bool
}

// isRenewal reports whether ctx comes from Renew.
func isRenewal(ctx context.Context) bool {
	_, ok := ctx.Value(renewalKey{}).(*renewal)
	return ok
}

// isFirstRenewal reports whether ctx comes from Renew and q was not asked with it before.
func isFirstRenewal(ctx context.Context, q checks.Question) bool {
	r, ok := ctx.Value(renewalKey{}).(*renewal)
	if !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first := !r.asked[q]
	r.asked[q] = true
	return first
}
