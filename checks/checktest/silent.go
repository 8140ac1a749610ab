package checktest

import (
	"context"
	"time"

	"milterd/checks"
)

// Silent is a resolver that does not answer some questions: a look-up lasts until its context ends.
type Silent struct {
	checks.Resolver
	About   func(checks.Question) bool // the questions without an answer
	GivesUp bool                       // after the time that package resolver takes by default
}

// Lookup implements checks.Resolver.
func (s Silent) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if !s.About(q) {
		return s.Resolver.Lookup(ctx, q)
	}
	if s.GivesUp {
		limited, cancel := context.WithTimeout(ctx, 6*time.Second)
		defer cancel()
		ctx = limited
	}
	<-ctx.Done()
	return checks.Answer{}, ctx.Err()
}

// Below returns a condition that is true for questions about a domain and the names under it.
func Below(domain string) func(checks.Question) bool {
	return func(q checks.Question) bool { return checks.Under(q.Name, domain) }
}
