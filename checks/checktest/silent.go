package checktest

import (
	"context"

	"milterd/checks"
)

// Silent is a resolver that answers nothing about a domain and the names under it: a look-up there lasts until its context ends.
type Silent struct {
	checks.Resolver
	Domain string
}

// Lookup implements checks.Resolver.
func (s Silent) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if checks.Under(q.Name, s.Domain) {
		<-ctx.Done()
	}
	return s.Resolver.Lookup(ctx, q)
}
