package checktest

import (
	"context"
	"slices"
	"time"

	"milterd/checks"
)

// Deaf returns a resolver whose name servers answer questions of some types only. It gives up on others after the time that package
// resolver takes by default, or when the context ends.
func Deaf(r checks.Resolver, answered ...uint16) checks.Resolver {
	return deaf{Resolver: r, answered: answered}
}

type deaf struct {
	checks.Resolver
	answered []uint16
}

const deafFor = 6 * time.Second

// Lookup implements checks.Resolver.
func (d deaf) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if slices.Contains(d.answered, q.Type) {
		return d.Resolver.Lookup(ctx, q)
	}
	ctx, cancel := context.WithTimeout(ctx, deafFor)
	defer cancel()
	<-ctx.Done()
	return checks.Answer{}, ctx.Err()
}
