package checks

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Asked is one question to the DNS that a check asked, and its answer.
type Asked struct {
	Question
	Answer Answer
	Err    error
	Took   time.Duration // short if the answer was known or on its way
}

// shownRecord is how much of a record is shown, in octets: more than any common one has.
const shownRecord = 512

// Said is what the DNS answered, for people: printable US-ASCII.
func (a Asked) Said() string {
	if a.Err != nil {
		why := strings.TrimPrefix(a.Err.Error(), a.Question.String()+": ") // the reader knows the question
		return "no answer: " + Clean(why, shownRecord)
	}
	var parts []string
	for _, rr := range a.Answer.Records {
		text := strings.TrimPrefix(rr.String(), rr.Header().String())
		if _, ok := rr.(*dns.CNAME); ok {
			text = "CNAME " + text
		}
		parts = append(parts, Clean(text, shownRecord))
	}
	switch {
	case a.Answer.NXDomain:
		parts = append(parts, "no such name")
	case len(parts) == 0:
		parts = append(parts, "no such record")
	}
	return strings.Join(parts, ", ")
}

// Traced is a resolver that notes what is asked for a Pipeline whose Options.Trace is set.
func Traced(r Resolver) Resolver { return traced{r} }

type traced struct{ Resolver }

type questions struct {
	mu    sync.Mutex
	asked []Asked
	notes []string
}

// Note notes in the trace what a check found out elsewhere than in the DNS, such as what another host said: a sentence without
// an end, printable. Without Options.Trace it does nothing.
func Note(ctx context.Context, text string) {
	if q, ok := ctx.Value(questionsKey{}).(*questions); ok {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.notes = append(q.notes, text)
	}
}

type questionsKey struct{}

func withQuestions(ctx context.Context) (context.Context, *questions) {
	q := new(questions)
	return context.WithValue(ctx, questionsKey{}, q), q
}

func (q *questions) list() ([]Asked, []string) {
	if q == nil {
		return nil, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.asked, q.notes
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
