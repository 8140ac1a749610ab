package callout

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"milterd/checks"
)

const (
	// maxFlights is how many callouts one daemon has under way at a time.
	maxFlights = 500
	// maxFlight is how long one may last, with all hosts of the domain.
	maxFlight = 60 * time.Second
	// reserve is what the checks after this one get of the budget.
	reserve = 500 * time.Millisecond
)

var (
	errBusy  = errors.New("too many callouts under way")
	errTrial = errors.New("nobody is called out in a trial")
)

// flight is one callout under way. All who want to know about the address wait for the same one; it goes on when nobody
// does.
type flight struct {
	done     chan struct{}            // closed when it has ended
	alone    chan struct{}            // closed when nobody may wait for it any more
	detached bool                     // alone is closed; for the flight alone
	progress atomic.Pointer[progress] // who is being asked what

	// Not to be read before done is closed.
	answer answer
	err    error
}

// progress is how far a flight came.
type progress struct{ host, addr, stage string }

// detach lets nobody wait any more: from now on the other side may be asking us, and wait for our answer.
func (f *flight) detach() {
	if !f.detached {
		f.detached = true
		close(f.alone)
	}
}

// verify says what is known about an address, and finds it out if nothing is, for as long as the context lasts.
func (c *check) verify(ctx context.Context, q question) (answer, error) {
	a, ok, err := c.recall(ctx, q)
	if err != nil {
		return answer{}, err
	}
	if ok {
		c.tally.count(countKnown)
		c.tally.refusal(a, c.Unusable)
		c.refresh(ctx, q, a)
		return a, nil
	}
	if c.env.Dial == nil {
		return answer{}, errTrial
	}
	f, err := c.join(q, false)
	if err != nil {
		return answer{}, err
	}
	return f.wait(ctx)
}

// wait waits for the end of a flight, or until there is just the reserve left.
func (f *flight) wait(ctx context.Context) (answer, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-reserve))
		defer cancel()
	}
	select {
	case <-f.done:
	case <-f.alone:
	case <-ctx.Done():
	}
	select {
	case <-f.done:
		return f.answer, f.err
	default:
	}
	a := answer{Kind: isPending, Stage: atDNS}
	if p := f.progress.Load(); p != nil {
		a.Host, a.Addr, a.Stage = p.host, p.addr, p.stage
	}
	return a, nil
}

// refresh asks again, in the background, about an accepted address whose answer will soon be forgotten: senders who write
// regularly never wait. Of several daemons one does.
func (c *check) refresh(ctx context.Context, q question, a answer) {
	age := q.now.Sub(time.Unix(a.At, 0))
	if a.Kind != isAccepted || age < c.Good/4*3 {
		return
	}
	if first, err := c.env.Store.PutNew(ctx, againKey+q.key(), []byte{1}, again); err == nil && first {
		_, _ = c.join(q, true) // too many are under way: the next mail will try
	}
}

// join finds the flight for an address, or starts it.
func (c *check) join(q question, refresh bool) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[q.key()]; f != nil {
		return f, nil
	}
	if len(c.flights) >= c.most {
		c.tally.count(countLimited)
		return nil, errBusy
	}
	f := &flight{done: make(chan struct{}), alone: make(chan struct{})}
	c.flights[q.key()] = f
	go c.fly(f, q, refresh)
	return f, nil
}

// fly runs a flight. It has a context of its own: sessions come and go.
func (c *check) fly(f *flight, q question, refresh bool) {
	ctx, cancel := context.WithTimeout(context.Background(), maxFlight)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			f.err = &checks.PanicError{Value: v, Stack: debug.Stack()}
		}
		c.mu.Lock()
		delete(c.flights, q.key())
		c.mu.Unlock()
		close(f.done)
	}()
	if !refresh {
		// A flight may have ended between our caller's look into the store and its join.
		a, ok, err := c.recall(ctx, q)
		if ok || err != nil {
			f.answer, f.err = a, err
			return
		}
	}
	c.tally.count(countCallouts)
	f.answer, f.err = c.probe(ctx, f, q)
	f.answer.At = q.now.Unix()
	if _, limited := errors.AsType[*limitError](f.err); limited {
		c.tally.count(countLimited)
	}
	if f.err == nil {
		c.tally.count(string(f.answer.Kind))
		f.answer.log(c.env.Log, q)
		c.remember(ctx, q, f.answer, refresh)
	}
}
