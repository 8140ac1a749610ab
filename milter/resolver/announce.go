package resolver

import (
	"sync/atomic"

	"milterd/checks"
)

// Limits of what strangers can make the resolver ask in the background. Announced questions beyond them are dropped; a
// Lookup asks them when the answer is needed.
const (
	maxOutstanding = 1000 // announced questions without an answer
	maxFollowUps   = 20   // questions that follow from one announced question, over all steps
)

// announced is an announced question, or one that follows from it.
type announced struct {
	checks.Query
	followUps *atomic.Int64 // shared by all questions that follow from one
}

// Announce implements checks.Announcer. It does not wait for the DNS. A panic of a Then function is logged and counted.
func (r *Resolver) Announce(questions []checks.Query) {
	for _, q := range questions {
		r.announce(announced{Query: q, followUps: new(atomic.Int64)})
	}
}

// announce asks one question, and those that follow from its answer.
func (r *Resolver) announce(a announced) {
	r.stats.announced.Add(1)
	if e, ok := r.cache.get(a.Question); ok {
		r.stats.hits.Add(1)
		r.announceFollowUps(a, e.answer, e.err)
		return
	}
	name, ok := canonical(a.Name)
	if !ok {
		r.announceFollowUps(a, checks.Answer{NXDomain: true}, nil)
		return
	}
	a.Name = name
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
	f, isNew := r.flightOf(a.Question)
	r.running.Go(func() {
		if isNew {
			r.run(f)
		}
		<-f.done
		r.outstanding.Add(-1)
		r.announceFollowUps(a, f.answer, f.err)
	})
}

// announceFollowUps announces the questions that follow from an answer. None follow from an error.
func (r *Resolver) announceFollowUps(a announced, answer checks.Answer, err error) {
	if err != nil || a.Then == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			r.reportPanic(a.Question, v)
		}
	}()
	for _, next := range a.Then(answer) {
		if a.followUps.Add(1) > maxFollowUps {
			r.stats.announced.Add(1)
			r.stats.dropped.Add(1)
			continue
		}
		r.announce(announced{Query: next, followUps: a.followUps})
	}
}
