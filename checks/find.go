package checks

import (
	"context"
	"fmt"
	"runtime/debug"
)

// finding is where a session has what a check said at a step.
func (s *Session) finding(p *Pipeline, st step) *finding {
	return &s.findings[st.stage][p.places[st.stage][st.check]]
}

// find asks a check about a scope, or remembers what it said.
func (p *Pipeline) find(ctx context.Context, s *Session, i int, st Stage) *finding {
	if s.findings[st] == nil {
		s.findings[st] = make([]finding, p.findings[st])
	}
	f := s.finding(p, step{i, st})
	if f.done {
		return f
	}
	s.Stage = st
	from := s.running.mark()
	f.verdicts, f.err = protect(ctx, p.instances[i].Check, s)
	f.done, f.took = true, s.running.lap()
	f.asked, f.notes = s.running.since(from)
	if p.opts.Took != nil {
		p.opts.Took(p.instances[i].Info.Name, f.took)
	}
	return f
}

// protect turns a panic of a check into its error: a bug must neither refuse mail nor end the daemon.
func protect(ctx context.Context, c Check, s *Session) (vs []Verdict, err error) {
	defer func() {
		if r := recover(); r != nil {
			vs, err = nil, &PanicError{r, debug.Stack()}
		}
	}()
	return c.Check(ctx, s)
}

// PanicError is the error of a check that panicked.
type PanicError struct {
	Value any
	Stack []byte
}

// Error implements error.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }
