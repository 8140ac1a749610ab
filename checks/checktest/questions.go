package checktest

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"sync"
	"testing"

	"milterd/checks"
)

// Recorder is a resolver that notes what it is asked. It is safe for concurrent use.
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

// Asked lists the different questions, sorted, as in "example.org. MX".
func (r *Recorder) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.times))
}

// Times tells how often a question was asked.
func (r *Recorder) Times(question string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times[question]
}

// Announced lists the questions that a check announces for a session taken through all stages, with those that follow
// from the answers, as Recorder.Asked does. It fails the test if announcing is not pure: if it gives something else the
// second time.
func Announced(t testing.TB, c checks.Check, r checks.Resolver, about *checks.Request) []string {
	t.Helper()
	pre, ok := c.(checks.Prefetcher)
	if !ok {
		return nil
	}
	rec := &Recorder{Resolver: r}
	for _, st := range []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom} {
		about.Stage = st
		first, second := pre.Prefetch(about), pre.Prefetch(about)
		if len(first) != len(second) {
			t.Errorf("Prefetch at %s is not pure", st)
		}
		follow(rec, first)
	}
	return rec.Asked()
}

// follow asks as a resolver does that is told ahead. Failures end a branch.
func follow(r checks.Resolver, questions []checks.Query) {
	for _, q := range questions {
		a, err := r.Lookup(context.Background(), q.Question)
		if err == nil && q.Then != nil {
			follow(r, q.Then(a))
		}
	}
}

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// Placeholders lists the names in braces in the text of a reply.
func Placeholders(text string) []string {
	var names []string
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// sessionPlaceholders are those that need no Detail, see checks.Reason.
var sessionPlaceholders = []string{"client", "client_name", "helo", "mail_from", "domain", "rcpt"}

// unfilled lists the placeholders of a verdict's reply that nothing fills.
func unfilled(v checks.Verdict) []string {
	return slices.DeleteFunc(Placeholders(v.Reason.Reply.Text), func(name string) bool {
		_, ok := v.Detail[name]
		return ok || slices.Contains(sessionPlaceholders, name)
	})
}
