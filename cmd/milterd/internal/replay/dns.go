package replay

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"milterd/checks"
)

// errNotAsked is the error of NoDNS.
var errNotAsked = errors.New("the DNS was not asked")

// errKeyGone is the error for a DKIM key that is not in the DNS, or revoked. Domains remove old keys (RFC 6376 section
// 3.6.1), so it says nothing about a message that was signed long ago.
var errKeyGone = errors.New("a DKIM key is not in the DNS any more")

// NoDNS is a resolver that answers every question with errNotAsked.
type NoDNS struct{}

// Lookup implements checks.Resolver.
func (NoDNS) Lookup(context.Context, checks.Question) (checks.Answer, error) {
	return checks.Answer{}, errNotAsked
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
	if err == nil && isKeyQuestion(q) && !hasKey(got) {
		err = errKeyGone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known != nil { // nil while the checks are built
		s.known[q] = answer{Answer: got, err: err}
	}
	return got, err
}

// isKeyQuestion reports whether a question is for a DKIM key.
func isKeyQuestion(q checks.Question) bool {
	return q.Type == dns.TypeTXT && strings.Contains(q.Name, "._domainkey.")
}

// hasKey reports whether an answer has a DKIM key record that is not revoked.
func hasKey(a checks.Answer) bool {
	for _, text := range checks.Texts(a) {
		text = strings.Join(strings.Fields(text), "")
		if !slices.Contains(strings.Split(text, ";"), "p=") {
			return true
		}
	}
	return false
}

// lenient is a check without the verdicts that say nothing about the mail of a replay: if the DNS is not asked, those for a question
// without an answer, and if a key is gone, those that are unsure. If it leaves out a verdict, it fails with errNotAsked or errKeyGone.
type lenient struct {
	inner checks.Check
	asks  bool // the DNS is asked
}

// Check implements checks.Check.
func (l lenient) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	verdicts, err := l.inner.Check(ctx, r)
	gone := errors.Is(err, errKeyGone)
	kept := slices.DeleteFunc(slices.Clone(verdicts), func(v checks.Verdict) bool {
		return v.Reason != nil && (gone && v.Unsure || !l.asks && v.Reason.Unanswered)
	})
	if len(kept) < len(verdicts) && err == nil {
		err = errNotAsked
	}
	return kept, err
}

// Prefetch implements checks.Prefetcher.
func (l lenient) Prefetch(r *checks.Request) []checks.Query {
	if p, ok := l.inner.(checks.Prefetcher); ok {
		return p.Prefetch(r)
	}
	return nil
}

// Observe implements checks.Observer.
func (l lenient) Observe(ctx context.Context, r *checks.Request, e checks.Event) {
	if o, ok := l.inner.(checks.Observer); ok {
		o.Observe(ctx, r, e)
	}
}
