package checktest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	"milterd/checks"
)

// Recorder is a resolver that records its questions. It is safe for concurrent use.
type Recorder struct {
	checks.Resolver
	mu    sync.Mutex
	times map[string]int
}

// Lookup implements checks.Resolver.
func (r *Recorder) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	r.mu.Lock()
	if r.times == nil {
		r.times = map[string]int{}
	}
	r.times[q.String()]++
	r.mu.Unlock()
	return r.Resolver.Lookup(ctx, q)
}

// Asked returns the questions, sorted and each once, as in "example.org. MX".
func (r *Recorder) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.times))
}

// Times returns how often a question was asked.
func (r *Recorder) Times(question string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times[question]
}

// Prefetched returns the questions that a check prefetches at all stages, with those that follow from the answers, as
// Recorder.Asked does. It fails the test if Prefetch is not pure.
func Prefetched(t testing.TB, c checks.Check, dns checks.Resolver, r *checks.Request) []string {
	t.Helper()
	pre, ok := c.(checks.Prefetcher)
	if !ok {
		return nil
	}
	rec := &Recorder{Resolver: dns}
	for _, st := range []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom, checks.EndOfHeader} {
		r.Stage = st
		first, second := pre.Prefetch(r), pre.Prefetch(r)
		if len(first) != len(second) {
			t.Errorf("Prefetch at %s is not pure", st)
		}
		follow(rec, first)
	}
	return rec.Asked()
}

// Questions returns the questions that a check asks about a session, and those that it prefetches, each as Recorder.Asked does. build
// makes the check. An error of the check fails the test.
func Questions(
	t testing.TB, info checks.Info, env checks.Env, build func(testing.TB, checks.Env) checks.Check, d Session,
) (asked, prefetched []string) {
	t.Helper()
	dns := env.DNS
	rec := &Recorder{Resolver: dns}
	env.DNS = rec
	c, r := build(t, env), d.Request(t)
	prefetched = Prefetched(t, c, dns, r)
	if _, err := Ask(t, info, c, r); err != nil {
		t.Error(err)
	}
	return rec.Asked(), prefetched
}

// follow asks queries and those that follow from the answers.
func follow(dns checks.Resolver, queries []checks.Query) {
	for _, q := range queries {
		a, err := dns.Lookup(context.Background(), q.Question)
		if err == nil && q.Then != nil {
			follow(dns, q.Then(a))
		}
	}
}

// Placeholders returns the names in braces in the text of a reply.
func Placeholders(text string) (names []string) {
	for _, name := range checks.TextParts(text) {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// unfilled returns the placeholders of the reply of a verdict that neither its Detail nor a session fills.
func unfilled(v checks.Verdict) []string {
	return slices.DeleteFunc(Placeholders(v.Reason.Reply.Text), func(name string) bool {
		_, inDetail := v.Detail[name]
		_, inSession := new(checks.Session).Value(name)
		return inDetail || inSession
	})
}
