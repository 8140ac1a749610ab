package resolver

import (
	"sync/atomic"

	"milterd/checks"
)

// What strangers may make us ask in the background, all of them and each. What is over a limit is not asked ahead, and a
// Lookup asks it when it is needed.
const (
	maxOutstanding = 1000 // announced questions that wait for their answer
	maxDepth       = 4    // follow-ups of follow-ups
	maxFollowUps   = 20   // of one announced question, at all depths together
)

// ahead is an announced question with its place in the announcement.
type ahead struct {
	checks.Query
	depth     int
	followUps *atomic.Int64 // of the announcement, so far
}

// Announce implements checks.Announcer. It does not wait for the DNS, but runs what follows from answers that are in the
// cache. A panic of a Then is counted, logged, and goes no further.
func (r *Resolver) Announce(questions []checks.Query) {
	for _, q := range questions {
		r.announce(ahead{q, 0, new(atomic.Int64)})
	}
}

// announce asks one question, and those that follow from its answer.
func (r *Resolver) announce(a ahead) {
	r.stats.announced.Add(1)
	if k, ok := r.cache.get(a.Question); ok {
		r.stats.hits.Add(1)
		r.then(a, k.answer, k.err)
		return
	}
	if r.outstanding.Add(1) > maxOutstanding {
		r.outstanding.Add(-1)
		r.stats.dropped.Add(1)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		r.outstanding.Add(-1)
		return
	}
	r.running.Go(func() {
		answer, err := r.Lookup(r.ctx, a.Question)
		r.outstanding.Add(-1)
		r.then(a, answer, err)
	})
}

// then announces what follows from an answer. From a failure nothing does.
func (r *Resolver) then(a ahead, answer checks.Answer, err error) {
	if err != nil || a.Then == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			r.caught(a.Question, v)
		}
	}()
	for _, next := range a.Then(answer) {
		if a.depth == maxDepth || a.followUps.Add(1) > maxFollowUps {
			r.stats.announced.Add(1)
			r.stats.dropped.Add(1)
			continue
		}
		r.announce(ahead{next, a.depth + 1, a.followUps})
	}
}
