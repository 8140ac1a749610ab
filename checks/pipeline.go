package checks

import (
	"slices"
	"sync/atomic"
)

// Instance is a configured check.
type Instance struct {
	Info  Info
	Check Check
}

// Pipeline has the configured checks and the operator's policy, which never change. It is safe for concurrent use by many
// sessions. NewRun begins to judge a session.
//
// Checks run one after the other, in the order given to New, and the first refusal is the reply. So equal sessions receive
// equal replies.
type Pipeline struct {
	instances      []Instance
	opts           Options
	general        *table    // for recipients without a policy
	exempt         *table    // for exempt recipients
	policies       []*table  // for those with a policy
	late           []*Reason // reasons that may be found at EndOfHeader or EndOfMessage
	announced      recentSet
	prefetchers    []running[Prefetcher]
	observers      []running[Observer]
	authenticators []running[Authenticator]
	maintainers    []running[Maintainer]
	maintaining    []atomic.Bool  // by maintainer, see Maintain
	atStage        [numStages]int // number of checks that run at each stage
	judgesMessage  bool           // a check runs at EndOfHeader or EndOfMessage
	needsBody      bool           // a check needs the body of some messages
	trustedToo     bool           // a check runs for trusted clients too
}

// New returns a Pipeline of the given checks. It fails if opts has no action for one of their reasons.
func New(instances []Instance, opts Options) (*Pipeline, error) {
	p := &Pipeline{instances: instances, opts: opts, exempt: emptyTable(instances)}
	p.exempt.partial = true
	if err := p.addTables(); err != nil {
		return nil, err
	}
	for i, inst := range instances {
		if !p.runs(i) {
			continue
		}
		for _, st := range inst.Info.Stages {
			p.atStage[st]++
		}
		if slices.ContainsFunc(inst.Info.Stages, func(st Stage) bool { return st > RcptTo }) {
			p.judgesMessage = true
			p.late = append(p.late, slices.DeleteFunc(slices.Clone(inst.Info.Reasons), func(r *Reason) bool { return r.Early })...)
		}
		p.needsBody = p.needsBody || inst.Info.Body && opts.Body != nil
		p.trustedToo = p.trustedToo || inst.Info.TrustedToo
	}
	p.prefetchers, p.observers = implementing[Prefetcher](p), implementing[Observer](p)
	p.authenticators, p.maintainers = implementing[Authenticator](p), implementing[Maintainer](p)
	p.maintaining = make([]atomic.Bool, len(p.maintainers))
	return p, nil
}

// Check returns the check with a name, or nil if there is none.
func (p *Pipeline) Check(name string) Check {
	for _, inst := range p.instances {
		if inst.Info.Name == name {
			return inst.Check
		}
	}
	return nil
}

// runs reports whether check i runs for any recipient.
func (p *Pipeline) runs(i int) bool { return p.anyTable(func(t *table) bool { return t.runs[i] }) }

// uses reports whether a reason is on for any recipient.
func (p *Pipeline) uses(r *Reason) bool {
	return p.anyTable(func(t *table) bool { return t.actions[r] != Off })
}

// running is a check that runs for any recipient and implements T, an optional interface of checks.
type running[T any] struct {
	name  string
	check T
}

// implementing returns the checks that run and implement T.
func implementing[T any](p *Pipeline) []running[T] {
	var list []running[T]
	for i, inst := range p.instances {
		if c, ok := inst.Check.(T); ok && p.runs(i) {
			list = append(list, running[T]{inst.Info.Name, c})
		}
	}
	return list
}

// each calls f for each check of a list. It logs a panic of f.
func each[T any](list []running[T], f func(check string, c T)) {
	for _, r := range list {
		contain(func() { f(r.name, r.check) })
	}
}

// RepliesAt reports whether Run.Judge may return a reply at a stage.
func (p *Pipeline) RepliesAt(st Stage) bool {
	switch st {
	case MailFrom:
		return p.opts.ReplyAt == MailFrom
	case RcptTo:
		return true
	case EndOfMessage:
		return p.judgesMessage
	default:
		return false
	}
}

// RunsAny reports whether any check runs.
func (p *Pipeline) RunsAny() bool {
	return p.anyTable(func(t *table) bool { return slices.Contains(t.runs, true) })
}

// UsesAction reports whether any reason has an action, for any recipient.
func (p *Pipeline) UsesAction(a Action) bool {
	return p.anyTable(func(t *table) bool {
		for _, used := range t.actions {
			if used == a {
				return true
			}
		}
		return false
	})
}

// NeedsBody reports whether Run.BeginBody may return a writer.
func (p *Pipeline) NeedsBody() bool { return p.needsBody }

// SubjectPrefix returns Options.SubjectPrefix.
func (p *Pipeline) SubjectPrefix() string { return p.opts.SubjectPrefix }

// TraceFields returns Options.TraceFields.
func (p *Pipeline) TraceFields() TraceFields { return p.opts.TraceFields }
