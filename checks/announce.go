package checks

import (
	"context"
	"slices"
	"time"
)

// announce lets the questions be asked that the checks will ask, in the background, for every stage at which that was put off.
func (p *Pipeline) announce(s *Session) {
	var all []Ahead
	for st := range s.behind {
		if !s.behind[st] {
			continue
		}
		s.behind[st] = false
		s.Stage = Stage(st)
		for _, pre := range p.ahead {
			for _, q := range pre.Prefetch(s) {
				if !slices.ContainsFunc(all, func(a Ahead) bool { return a.covers(q) }) {
					all = append(all, q)
				}
			}
		}
	}
	if len(all) > 0 {
		p.opts.Announce.Announce(all)
	}
}

// run makes the context of the checks: what was put off is asked ahead as soon as something turns out not to be known.
func (p *Pipeline) run(ctx context.Context, s *Session) context.Context {
	r := &running{before: time.Now()}
	s.running = r
	if s.behind != [numStages]bool{} {
		behind := s.behind
		r.ahead = func() {
			r.caughtUp.Store(true)
			// Who misses something may be a goroutine of a check: it is not to meet the others in the session.
			told := s.told()
			told.behind = behind
			p.announce(told)
		}
	}
	return context.WithValue(ctx, runningKey{}, r)
}
