package checks

import (
	"fmt"
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
	instances     []Instance
	opts          Options
	general       *table // for recipients without a policy
	exempt        *table // for exempt recipients
	policies      []policyTable
	used          map[*Reason]bool // reasons that are on for any recipient
	late          []*Reason        // reasons that may be found at EndOfHeader or EndOfMessage
	actions       [Reject + 1]bool // actions of any reason, for any recipient
	prefetchers   []Prefetcher
	observers     []Observer
	announced     recentSet
	maintaining   []atomic.Bool // by check, see Maintain
	judgesMessage bool          // a check runs at EndOfHeader or EndOfMessage
	needsBody     bool          // a check needs the body of some messages
	trustedToo    bool          // a check runs for trusted clients too
}

type policyTable struct {
	recipients RecipientSet
	table      *table
}

// New returns a Pipeline of the given checks. It fails if opts has no action for one of their reasons.
func New(instances []Instance, opts Options) (*Pipeline, error) {
	p := &Pipeline{instances: instances, opts: opts, exempt: exemptTable(instances), maintaining: make([]atomic.Bool, len(instances))}
	if err := p.addTables(); err != nil {
		return nil, err
	}
	for i, inst := range instances {
		if !p.runs(i) {
			continue
		}
		if slices.ContainsFunc(inst.Info.Stages, func(st Stage) bool { return st > RcptTo }) {
			p.judgesMessage = true
			p.late = append(p.late, slices.DeleteFunc(slices.Clone(inst.Info.Reasons), func(r *Reason) bool { return r.Early })...)
		}
		p.needsBody = p.needsBody || inst.Info.Body && opts.Body != nil
		p.trustedToo = p.trustedToo || inst.Info.TrustedToo
		if o, ok := inst.Check.(Observer); ok {
			p.observers = append(p.observers, o)
		}
		if f, ok := inst.Check.(Prefetcher); ok && opts.Announce != nil {
			p.prefetchers = append(p.prefetchers, f)
		}
	}
	return p, nil
}

// addTables builds the action tables.
func (p *Pipeline) addTables() (err error) {
	if p.general, err = newTable(p.instances, p.opts.Actions, p.opts.Named); err != nil {
		return err
	}
	tables := []*table{p.general}
	for _, policy := range p.opts.Policies {
		t, err := newTable(p.instances, policy.Actions, policy.Named)
		if err != nil {
			return fmt.Errorf("policy: %w", err)
		}
		t.forwarders, t.partial = policy.Forwarders, t.lacks(p.general)
		p.policies = append(p.policies, policyTable{recipients: policy.Recipients, table: t})
		tables = append(tables, t)
	}
	p.used = map[*Reason]bool{}
	for _, t := range tables {
		for r, a := range t.actions {
			p.used[r] = p.used[r] || a != Off
			p.actions[a] = true
		}
	}
	return nil
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
func (p *Pipeline) runs(i int) bool {
	return p.general.runs[i] || slices.ContainsFunc(p.policies, func(t policyTable) bool { return t.table.runs[i] })
}

// tableFor returns the actions for a recipient.
func (p *Pipeline) tableFor(rcpt Address) *table {
	if p.opts.Exempt.Contains(rcpt) {
		return p.exempt
	}
	for _, policy := range p.policies {
		if policy.recipients.Contains(rcpt) {
			return policy.table
		}
	}
	return p.general
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

// Checks reports whether any check runs.
func (p *Pipeline) Checks() bool {
	for i := range p.instances {
		if p.runs(i) {
			return true
		}
	}
	return false
}

// Uses reports whether any reason has an action, for any recipient.
func (p *Pipeline) Uses(a Action) bool { return p.actions[a] }

// NeedsBody reports whether Run.BeginBody may return a writer.
func (p *Pipeline) NeedsBody() bool { return p.needsBody }

// SubjectPrefix returns Options.SubjectPrefix.
func (p *Pipeline) SubjectPrefix() string { return p.opts.SubjectPrefix }

// TraceFields returns Options.TraceFields.
func (p *Pipeline) TraceFields() TraceFields { return p.opts.TraceFields }
