package resolver

import (
	"context"
	"sync"

	"milterd/checks"
)

// Renew makes every question that is looked up with the context be asked anew, once, whatever the cache has: for who has
// just repaired his zone. What is answered then is what the next mail finds in the cache.
func Renew(ctx context.Context) context.Context {
	return context.WithValue(ctx, renewalKey{}, &renewal{asked: map[checks.Question]bool{}})
}

type renewalKey struct{}

// renewal is which questions were asked anew already.
type renewal struct {
	mu    sync.Mutex
	asked map[checks.Question]bool
}

// renewing tells whether a context is one of Renew.
func renewing(ctx context.Context) bool {
	_, ok := ctx.Value(renewalKey{}).(*renewal)
	return ok
}

// renews tells whether a question has to be asked anew.
func renews(ctx context.Context, q checks.Question) bool {
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
