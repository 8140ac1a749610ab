package callout

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"milterd/checks"
)

const (
	// maxFlights is how many callouts are in progress at a time. Each has a connection and two goroutines, about 50 KiB.
	maxFlights = 500
	// maxFlight is how long a callout may take, with all hosts of the domain. Half of it would cut off slow hosts whose answer
	// the next attempt of the sender could use; double would keep more callouts to dead hosts in progress.
	maxFlight = 60 * time.Second
	// reserve is the part of the budget that is left to later checks.
	reserve = 500 * time.Millisecond
)

var errBusy = errors.New("too many callouts are in progress")

// flight is one callout in progress. All sessions that need the answer wait for the same flight. It goes on when no session
// waits.
type flight struct {
	done     chan struct{}          // closed at the end
	progress atomic.Pointer[answer] // current host and step

	// Valid when done is closed.
	answer answer
	err    error
}

// wait waits for the end of the flight, until only the reserve is left before the deadline of ctx. The answer is pending then.
func (f *flight) wait(ctx context.Context) (answer, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-reserve))
		defer cancel()
	}
	select {
	case <-f.done:
	case <-ctx.Done():
	}
	select {
	case <-f.done: // perhaps both are done
		return f.answer, f.err
	default:
	}
	a := *f.progress.Load()
	a.Result = resultPending
	return a, nil
}

// refresh asks again, in the background, about an accepted address whose answer expires soon, so that a regular sender does not
// wait once a day. Of several hosts with a common store, one does.
func (c *check) refresh(ctx context.Context, q question, a answer) {
	age := q.now.Sub(time.Unix(a.At, 0))
	if a.Result != resultAccepted || age < c.Good/4*3 {
		return
	}
	if first, err := c.env.Store.PutNew(ctx, refreshPrefix+q.key(), []byte{1}, keepTemporary); err == nil && first {
		_, _ = c.join(q, true) // if there are too many flights, the next mail tries again
	}
}

// join returns the flight for an address. It starts one if there is none.
func (c *check) join(q question, refresh bool) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[q.key()]; f != nil {
		return f, nil
	}
	if len(c.flights) >= maxFlights {
		c.stats.count(countLimited)
		return nil, errBusy
	}
	f := &flight{done: make(chan struct{})}
	f.progress.Store(&answer{Step: atDNS})
	c.flights[q.key()] = f
	go c.run(f, q, refresh)
	return f, nil
}

// run makes the callout. Its context is not that of a session, which may end earlier.
func (c *check) run(f *flight, q question, refresh bool) {
	ctx, cancel := context.WithTimeout(context.Background(), maxFlight)
	defer cancel()
	f.err = checks.Protect(func() (err error) {
		f.answer, err = c.find(ctx, f, q, refresh)
		return err
	})
	c.mu.Lock()
	delete(c.flights, q.key())
	c.mu.Unlock()
	close(f.done)
}

// find asks the mail hosts and stores the answer.
func (c *check) find(ctx context.Context, f *flight, q question, refresh bool) (answer, error) {
	if !refresh {
		// Another flight may have ended after verify looked into the store and before join.
		if a, ok, err := c.lookUp(ctx, q); ok || err != nil {
			return a, err
		}
	}
	c.stats.count(countCallouts)
	a, err := c.probe(ctx, f, q)
	if err != nil {
		return answer{}, err
	}
	a.At = q.now.Unix()
	c.stats.count(string(a.Result))
	a.log(c.env.Log, q)
	c.store(ctx, q, a, refresh)
	return a, nil
}
