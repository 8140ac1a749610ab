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

// renewalOf returns the renewal of a context from Renew, or nil.
func renewalOf(ctx context.Context) *renewal {
	r, _ := ctx.Value(renewalKey{}).(*renewal)
	return r
}

// isFirst reports whether q was not asked before.
func (r *renewal) isFirst(q checks.Question) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := !r.asked[q]
	r.asked[q] = true
	return first
}
