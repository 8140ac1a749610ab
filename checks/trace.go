package checks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Trace selects the Decisions that have Results.
type Trace uint8

// The values of Trace.
const (
	TraceNone    Trace = iota
	TraceMatched       // those with an Outcome
	TraceAll
)

// Asked is a DNS question that a check asked, and its answer.
type Asked struct {
	Question
	Answer Answer // without records if they are longer than maxKept
	Err    error
	Took   time.Duration

	text string // instead of a long Answer
}

const (
	// maxShownRecord is the length of a record as shown, in bytes. Common records are shorter.
	maxShownRecord = 512
	// maxShown is the length of an answer after which no more records are shown.
	maxShown = 1024
	// maxKept is the size of an answer that a session keeps to show it. Of longer ones it keeps the text: they may have 64 KiB, and
	// a session lasts for hours.
	maxKept = 4096
)

// AnswerText returns the answer as shown to people, in printable US-ASCII.
func (a Asked) AnswerText() string {
	if a.text != "" {
		return a.text
	}
	if a.Err != nil {
		why := strings.TrimPrefix(a.Err.Error(), a.Question.String()+": ") // the question is shown beside it
		return "no answer: " + Clean(why, maxShownRecord)
	}
	var parts []string
	length := 0
	for i, rr := range a.Answer.Records {
		if length > maxShown {
			parts = append(parts, fmt.Sprintf("%d more records", len(a.Answer.Records)-i))
			break
		}
		text := Clean(recordData(rr), maxShownRecord)
		parts, length = append(parts, text), length+len(text)
	}
	switch {
	case a.Answer.NXDomain:
		parts = append(parts, "no such name")
	case len(parts) == 0:
		parts = append(parts, "no such record")
	}
	return strings.Join(parts, ", ")
}

// recordData returns the data of a record in the form of RFC 1035 section 5.1, and the type if it is CNAME.
func recordData(rr dns.RR) string {
	text := rr.String()
	for range 4 { // name, TTL, class and type
		_, text, _ = strings.Cut(text, "\t") // a tab in a name is \009
	}
	if _, ok := rr.(*dns.CNAME); ok {
		return "CNAME " + text
	}
	return text
}

// trace collects the questions and the notes of a check, for its Result. The context of a check has it. It is safe for
// concurrent use, as a check may ask several questions at once.
type trace struct {
	mu    sync.Mutex
	asked []Asked
	notes []string
}

type traceKey struct{}

// traceOf returns the trace of a context, or nil.
func traceOf(ctx context.Context) *trace {
	t, _ := ctx.Value(traceKey{}).(*trace)
	return t
}

// startTrace begins a trace and returns a context that has it.
func (run *Run) startTrace(ctx context.Context) context.Context {
	run.trace = new(trace)
	return context.WithValue(ctx, traceKey{}, run.trace)
}

// add adds a question. A nil trace ignores it.
func (t *trace) add(a Asked) {
	if t == nil {
		return
	}
	if a.Answer.Size() > maxKept {
		a.text, a.Answer.Records = a.AnswerText(), nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked = append(t.asked, a)
}

// take returns what was collected since the last call. The results of each check have a slice of their own: in a common one, those
// of the connection would keep the answers of a message in memory after its end, which TraceSize does not count.
func (t *trace) take() (asked []Asked, notes []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked, notes = t.asked, t.notes
	t.asked, t.notes = nil, nil
	return asked, notes
}

// Note adds to the trace what a check found without the DNS, such as the reply of another host: a clause in printable US-ASCII.
func Note(ctx context.Context, text string) {
	if t := traceOf(ctx); t != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.notes = append(t.notes, text)
	}
}

// Traced returns a resolver that adds to the trace what is asked with the context of a check.
func Traced(r Resolver) Resolver { return traced{r} }

type traced struct{ Resolver }

var errPanic = errors.New("the resolver panicked")

// Lookup implements Resolver.
func (t traced) Lookup(ctx context.Context, q Question) (Answer, error) {
	began, asked := time.Now(), Asked{Question: q, Err: errPanic}
	defer func() { traceOf(ctx).add(asked) }() // also if the resolver panics
	a, err := t.Resolver.Lookup(ctx, q)
	asked = Asked{Question: q, Answer: a, Err: err, Took: time.Since(began)}
	return a, err
}
