package replay

import (
	"context"
	"errors"
	"slices"
	"sync"

	"milterd/checks"
)

// ErrNotAsked is the error of NoDNS.
var ErrNotAsked = errors.New("the DNS was not asked")

// NoDNS is a resolver that answers every question with ErrNotAsked.
type NoDNS struct{}

// Lookup implements checks.Resolver.
func (NoDNS) Lookup(context.Context, checks.Question) (checks.Answer, error) {
	return checks.Answer{}, ErrNotAsked
}

// sameAnswers is a resolver that asks each question once until forget is called, so that all judges get the
// same answer, or the same error.
type sameAnswers struct {
	checks.Resolver
	mu    sync.Mutex
	known map[checks.Question]answer
}

type answer struct {
	checks.Answer
	err error
}

// asks reports whether the DNS is asked at all.
func (s *sameAnswers) asks() bool {
	_, no := s.Resolver.(NoDNS)
	return !no
}

func (s *sameAnswers) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = map[checks.Question]answer{}
}

// Lookup implements checks.Resolver.
func (s *sameAnswers) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	s.mu.Lock()
	a, ok := s.known[q]
	s.mu.Unlock()
	if ok {
		return a.Answer, a.err
	}
	got, err := s.Resolver.Lookup(ctx, q)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known != nil { // nil while the checks are built
		s.known[q] = answer{got, err}
	}
	return got, err
}

// unasked is a check without the reasons that apply if the DNS did not answer. Where one of them would apply, the check
// fails with ErrNotAsked.
type unasked struct{ inner checks.Check }

// Check implements checks.Check.
func (u unasked) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	verdicts, err := u.inner.Check(ctx, r)
	kept := slices.DeleteFunc(slices.Clone(verdicts), func(v checks.Verdict) bool { return v.Reason != nil && v.Reason.Unanswered })
	if len(kept) < len(verdicts) && err == nil {
		err = ErrNotAsked
	}
	return kept, err
}
