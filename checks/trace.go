package checks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Asked is one question to the DNS that a check asked, and its answer.
type Asked struct {
	Question
	Answer Answer
	Err    error
	Took   time.Duration // 0 if the answer was known, short if it was on its way
}

// headColumns are the columns of a record in the form of RFC 1035 section 5.1 before its data: name, TTL, class and type.
const headColumns = 4

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
		text := rr.String()
		for range headColumns {
			_, text, _ = strings.Cut(text, "\t") // names have no tabs but as \009
		}
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

// Trace says of which decisions Decision.Results tells.
type Trace uint8

// The values of Trace.
const (
	TraceNone Trace = iota
	TraceTold       // those with a reply or an outcome
	TraceAll
)

// Traced is a resolver for a Pipeline: it notes what is asked, and lets the Pipeline know when something has to be asked after
// all. r may be a Knower.
func Traced(r Resolver) Resolver {
	k, _ := r.(Knower)
	return traced{r, k}
}

type traced struct {
	Resolver
	known Knower // nil: it cannot tell
}

// running is what the context of a check tells of its Pipeline. It is safe for concurrent use, but for what is said to be the
// session's.
type running struct {
	before   time.Time // when the last check was done; the session's
	ahead    func()    // asks ahead what was put off; nil: nothing was
	once     sync.Once
	caughtUp atomic.Bool // that was done

	mu    sync.Mutex
	asked []*Asked
	notes []string
}

type runningKey struct{}

func runningOf(ctx context.Context) *running {
	r, _ := ctx.Value(runningKey{}).(*running)
	return r
}

// miss is called before something is asked that was not known.
func (r *running) miss() {
	if r != nil && r.ahead != nil {
		r.once.Do(r.ahead)
	}
}

func (r *running) note(a Asked) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.room(), &a)
}

// room is r.asked with room for as many questions as a mail leads to usually.
func (r *running) room() []*Asked {
	const usually = 16
	if r.asked == nil {
		r.asked = make([]*Asked, 0, usually)
	}
	return r.asked
}

// lap tells how long the check took that is done now: one looks at the clock once, as there are many and most take no time.
func (r *running) lap() time.Duration {
	now := time.Now()
	took := now.Sub(r.before)
	r.before = now
	return took
}

// mark is a place in the notes.
type mark struct{ asked, notes int }

func (r *running) mark() mark {
	r.mu.Lock()
	defer r.mu.Unlock()
	return mark{len(r.asked), len(r.notes)}
}

// since returns what was noted after a mark. Nobody changes it any more.
func (r *running) since(m mark) ([]*Asked, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return tail(r.asked, m.asked), tail(r.notes, m.notes)
}

// tail is what follows the first n elements, if there is anything.
func tail[T any](list []T, n int) []T {
	if n >= len(list) {
		return nil
	}
	return slices.Clip(list[n:])
}

// Note notes in the trace what a check found out elsewhere than in the DNS, such as what another host said: a sentence without
// an end, printable.
func Note(ctx context.Context, text string) {
	if r := runningOf(ctx); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.notes = append(r.notes, text)
	}
}

var errPanic = errors.New("the resolver panicked")

// Known implements Knower.
func (t traced) Known(ctx context.Context, q Question) (a Answer, ok bool, err error) {
	if t.known == nil {
		return Answer{}, false, nil
	}
	if a, ok, err = t.known.Known(ctx, q); ok {
		runningOf(ctx).note(Asked{q, a, err, 0})
	}
	return a, ok, err
}

// Lookup implements Resolver.
func (t traced) Lookup(ctx context.Context, q Question) (Answer, error) {
	if a, ok, err := t.Known(ctx, q); ok {
		return a, err
	}
	r := runningOf(ctx)
	r.miss()
	began, asked := time.Now(), Asked{Question: q, Err: errPanic}
	defer func() { r.note(asked) }() // also if the resolver panics
	a, err := t.Resolver.Lookup(ctx, q)
	asked = Asked{q, a, err, time.Since(began)}
	return a, err
}
