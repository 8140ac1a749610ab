package checks

import (
	"context"
	"sync"
	"time"
)

// WithTimeout is context.WithTimeout with a timer only from the first call of Done on. Most answers are in memory, and nobody waits
// for them: the timers took 7 percent of the CPU time in the benchmark hot1.
func WithTimeout(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	t := &timeout{Context: parent, deadline: time.Now().Add(d)}
	return t, t.end
}

// timeout is the context of WithTimeout.
type timeout struct {
	context.Context           // the parent
	deadline        time.Time // that of the parent may be earlier

	mu     sync.Mutex
	err    error           // what Err returned, if not nil
	timed  context.Context // with a timer; nil until Done is called
	cancel context.CancelFunc
}

// Deadline implements context.Context.
func (t *timeout) Deadline() (time.Time, bool) {
	if end, ok := t.Context.Deadline(); ok && end.Before(t.deadline) {
		return end, true
	}
	return t.deadline, true
}

// Done implements context.Context.
func (t *timeout) Done() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timed == nil {
		t.timed, t.cancel = context.WithDeadline(t.Context, t.deadline)
		if t.err != nil {
			t.cancel()
		}
	}
	return t.timed.Done()
}

// Err implements context.Context.
func (t *timeout) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state()
}

// state returns the error of Err. The caller holds mu.
func (t *timeout) state() error {
	switch {
	case t.err != nil:
	case t.timed != nil:
		t.err = t.timed.Err()
	case t.Context.Err() != nil:
		t.err = t.Context.Err()
	case !time.Now().Before(t.deadline):
		t.err = context.DeadlineExceeded
	}
	return t.err
}

// end cancels the context, unless it has ended.
func (t *timeout) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state() == nil {
		t.err = context.Canceled
	}
	if t.cancel != nil {
		t.cancel()
	}
}

// Value implements context.Context. With it a context derived from this one waits for it without a goroutine.
func (t *timeout) Value(key any) any {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timed != nil {
		return t.timed.Value(key)
	}
	return t.Context.Value(key)
}
