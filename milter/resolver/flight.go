package resolver

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"milterd/checks"
)

// flight is one question on its way, with all who wait for it.
type flight struct {
	question checks.Question
	stale    bool          // was asked before somebody asked anew; guarded by Resolver.mu
	done     chan struct{} // closed when answer and err are there
	answer   checks.Answer
	err      error
}

// join returns the flight of a question whose name is canonical, and starts it if it is the first to ask.
func (r *Resolver) join(q checks.Question) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return landed(q, known{err: &Error{Question: q, Err: ErrClosed}})
	}
	if f := r.inFlight[q]; f != nil {
		r.stats.coalesced.Add(1)
		return f
	}
	if k, ok := r.cache.get(q); ok { // since the caller looked
		r.stats.hits.Add(1)
		return landed(q, k)
	}
	f := &flight{question: q, done: make(chan struct{})}
	r.inFlight[q] = f
	r.running.Go(func() { r.fly(f) })
	return f
}

// forget forgets what is known about a question whose name is canonical, and what is about to be known: it was asked before.
func (r *Resolver) forget(q checks.Question) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.inFlight[q]; f != nil {
		f.stale = true
		delete(r.inFlight, q)
	}
	r.cache.forget(q)
}

// landed makes a flight that need not fly.
func landed(q checks.Question, k known) *flight {
	f := &flight{question: q, done: make(chan struct{}), answer: k.answer, err: k.err}
	close(f.done)
	return f
}

// fly finds the answer and hands it out. It belongs to no caller, so that none can take it from the others.
func (r *Resolver) fly(f *flight) {
	k := r.find(f.question)
	f.answer, f.err = k.answer, k.err
	r.mu.Lock()
	if !f.stale {
		r.cache.put(f.question, k) // before the flight goes, or the next to ask would find neither
		delete(r.inFlight, f.question)
	}
	r.mu.Unlock()
	close(f.done)
}

// find asks for what is not in the cache. A panic on some hostile packet is a failure like others: those who wait must be
// released, and the daemon must live.
func (r *Resolver) find(q checks.Question) (k known) {
	defer func() {
		if v := recover(); v != nil {
			r.caught(q, v)
			k = known{err: &Error{Question: q, Err: fmt.Errorf("%w: panic", ErrMalformed)}, ttl: failureTTL}
		}
	}()
	ctx, cancel := context.WithTimeout(r.ctx, r.budget)
	defer cancel()
	k, err := r.follow(ctx, q)
	switch {
	case err == nil:
		return k
	case r.ctx.Err() != nil:
		return known{err: &Error{Question: q, Err: ErrClosed}}
	case errors.Is(err, ErrUnreachable):
		return known{err: err} // costs no time to find out again, and a server that is restarted is soon back
	}
	return known{err: err, ttl: failureTTL}
}

// follow asks for q, and on for the names that it is an alias of.
func (r *Resolver) follow(ctx context.Context, q checks.Question) (known, error) {
	c := newChain(q)
	for {
		m, err := r.exchange(ctx, checks.Question{Name: c.end, Type: q.Type})
		if err != nil {
			return known{}, err
		}
		complete, err := c.take(m)
		if err != nil {
			return known{}, &Error{Question: q, Err: err}
		}
		if complete {
			return c.known(), nil
		}
	}
}

// caught counts and logs a panic.
func (r *Resolver) caught(q checks.Question, v any) {
	r.stats.panics.Add(1)
	r.log.WithFields(map[string]any{"question": q.String(), "panic": v, "stack": string(debug.Stack())}).
		Error("panic in the resolver")
}
