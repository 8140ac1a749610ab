package checks

import (
	"context"
	"sync"
	"time"
)

// Asked is one question to the DNS that a check asked, and its answer.
type Asked struct {
	Question
	Answer Answer
	Err    error
	Took   time.Duration // short if the answer was known or on its way
}

// Traced is a resolver that notes what is asked for a Pipeline whose Options.Trace is set.
func Traced(r Resolver) Resolver { return traced{r} }

type traced struct{ Resolver }

type questions struct {
	mu    sync.Mutex
	asked []Asked
}

type questionsKey struct{}

func withQuestions(ctx context.Context) (context.Context, *questions) {
	q := new(questions)
	return context.WithValue(ctx, questionsKey{}, q), q
}

func (q *questions) list() []Asked {
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.asked
}

// Lookup implements Resolver.
func (t traced) Lookup(ctx context.Context, q Question) (Answer, error) {
	began := time.Now()
	a, err := t.Resolver.Lookup(ctx, q)
	if notes, ok := ctx.Value(questionsKey{}).(*questions); ok {
		notes.mu.Lock()
		notes.asked = append(notes.asked, Asked{q, a, err, time.Since(began)})
		notes.mu.Unlock()
	}
	return a, err
}
