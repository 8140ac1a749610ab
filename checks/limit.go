package checks

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Within is context.WithTimeout, with a timer only if somebody waits for the end: mostly all is known, and nobody does.
func Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	l := &limited{Context: ctx, until: time.Now().Add(d)}
	return l, l.end
}

type limited struct {
	context.Context
	until time.Time

	once   sync.Once
	timed  context.Context
	cancel context.CancelFunc
	over   atomic.Bool
}

func (l *limited) start() context.Context {
	l.once.Do(func() { l.timed, l.cancel = context.WithDeadline(l.Context, l.until) })
	return l.timed
}

// ended is the context of those who wait after the end.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func (l *limited) end() {
	l.over.Store(true)
	l.once.Do(func() { l.timed = ended })
	if l.cancel != nil {
		l.cancel()
	}
}

// Deadline implements context.Context.
func (l *limited) Deadline() (time.Time, bool) {
	if at, ok := l.Context.Deadline(); ok && at.Before(l.until) {
		return at, true
	}
	return l.until, true
}

// Done implements context.Context.
func (l *limited) Done() <-chan struct{} { return l.start().Done() }

// Err implements context.Context.
func (l *limited) Err() error {
	switch err := l.Context.Err(); {
	case err != nil:
		return err
	case !time.Now().Before(l.until):
		return context.DeadlineExceeded
	case l.over.Load():
		return context.Canceled
	default:
		return nil
	}
}
