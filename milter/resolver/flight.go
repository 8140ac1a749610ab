package resolver

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"milterd/checks"
)

// flight is a question that is being asked, shared by all callers that wait for its answer.
type flight struct {
	question checks.Question
	stale    bool          // it was discarded; guarded by Resolver.mu
	done     chan struct{} // closed when entry is set
	entry
}

// join returns the flight of a question and starts it if there is none. The name must be canonical.
func (r *Resolver) join(q checks.Question) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, isNew := r.flightOf(q)
	if isNew {
		r.running.Go(func() { r.run(f) })
	}
	return f
}

// flightOf returns the flight of a question, which may be finished already. If it is new, the caller has to call run. The caller
// holds mu. The name must be canonical.
func (r *Resolver) flightOf(q checks.Question) (f *flight, isNew bool) {
	if r.ctx.Err() != nil {
		return finished(q, entry{err: errorOf(q, errClosed)}), false
	}
	if f := r.inFlight[q]; f != nil {
		r.stats.coalesced.Add(1)
		return f, false
	}
	if e, ok := r.cache.get(q); ok { // cached since the caller looked
		r.stats.hits.Add(1)
		return finished(q, e), false
	}
	f = &flight{question: q, done: make(chan struct{})}
	r.inFlight[q] = f
	return f, true
}

// finished returns a flight that is done.
func finished(q checks.Question, e entry) *flight {
	f := &flight{question: q, done: make(chan struct{}), entry: e}
	close(f.done)
	return f
}

// run asks the question of f. It runs in a goroutine of its own, so that no caller's context can end it.
func (r *Resolver) run(f *flight) {
	f.entry = r.find(f.question)
	r.mu.Lock()
	if !f.stale {
		r.cache.put(f.question, f.entry) // before f is removed, or another caller could find neither
		delete(r.inFlight, f.question)
	}
	r.mu.Unlock()
	close(f.done)
}

// find asks the servers. A panic caused by a hostile packet is returned as an error, so that all callers get an answer.
func (r *Resolver) find(q checks.Question) (e entry) {
	defer func() {
		if v := recover(); v != nil {
			r.reportPanic(q, v)
			e = entry{err: errorOf(q, fmt.Errorf("%w: panic", errMalformed)), ttl: failureTTL}
		}
	}()
	ctx, cancel := context.WithTimeout(r.ctx, r.budget)
	defer cancel()
	e, err := r.follow(ctx, q)
	switch {
	case err == nil:
		r.stats.unanswered.Store(0)
		return e
	case r.ctx.Err() != nil:
		return entry{err: errorOf(q, errClosed)}
	}
	r.stats.unanswered.Add(1)
	if errors.Is(err, errUnreachable) {
		return entry{err: err} // not cached: asking again takes no time, and a restarted server is soon back
	}
	return entry{err: err, ttl: failureTTL}
}

// follow asks for q and then for the target of each CNAME record that the servers did not follow.
func (r *Resolver) follow(ctx context.Context, q checks.Question) (entry, error) {
	c := newChain(q)
	for {
		m, err := r.exchange(ctx, checks.Question{Name: c.end, Type: q.Type})
		if err != nil {
			return entry{}, err
		}
		complete, err := c.add(m)
		if err != nil {
			return entry{}, errorOf(q, err)
		}
		if complete {
			return c.entry(), nil
		}
	}
}

// forget removes a question from the cache and discards its flight: that query was sent too early. The name must be
// canonical.
func (r *Resolver) forget(q checks.Question) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.inFlight[q]; f != nil {
		f.stale = true
		delete(r.inFlight, q)
	}
	r.cache.forget(q)
}

// forgetAll removes all questions from the cache, and discards the flights.
func (r *Resolver) forgetAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.inFlight {
		f.stale = true
	}
	clear(r.inFlight)
	r.cache.clear()
}

// reportPanic counts and logs a panic.
func (r *Resolver) reportPanic(q checks.Question, v any) {
	r.stats.panics.Add(1)
	r.log.WithFields(map[string]any{"question": q.String(), "panic": v, "stack": string(debug.Stack())}).
		Error("panic in the resolver")
}
