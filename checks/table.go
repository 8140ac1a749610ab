package checks

import (
	"fmt"
	"slices"
)

// table has the actions for one group of recipients.
type table struct {
	recipients RecipientSet // of a policy
	actions    map[*Reason]Action
	bounces    map[*Reason]Action // the actions for mail with a null reverse-path, see Reason.BounceWatch
	runs       []bool             // by check: whether to run it
	forwarders Forwarders         // of these recipients
	partial    bool               // a reason is off that is on for recipients without a policy
}

// action returns the action of a reason, for mail with or without a null reverse-path.
func (t *table) action(r *Reason, bounce bool) Action {
	if bounce {
		return t.bounces[r]
	}
	return t.actions[r]
}

// emptyTable returns a table in which every reason is off and no check runs.
func emptyTable(instances []Instance) *table {
	return &table{actions: map[*Reason]Action{}, bounces: map[*Reason]Action{}, runs: make([]bool, len(instances))}
}

// newTable returns the table of the given actions, by reason id. named are the ids whose action the operator chose.
func newTable(instances []Instance, actions map[string]Action, named map[string]bool) (*table, error) {
	// Without a check that greylists, Greylist would do nothing: the reason is watched instead.
	greylisting := slices.ContainsFunc(instances, func(i Instance) bool {
		return slices.ContainsFunc(i.Info.Reasons, func(r *Reason) bool { return r.Greylisting })
	})
	t := emptyTable(instances)
	for i, inst := range instances {
		t.runs[i] = inst.Info.Vouches || len(inst.Info.Reasons) == 0
		for _, r := range inst.Info.Reasons {
			a, ok := actions[r.ID]
			if !ok {
				return nil, fmt.Errorf("checks: no action for reason %q", r.ID)
			}
			if a == Greylist && !greylisting {
				a = Watch
			}
			if r.Most != Off {
				a = min(a, r.Most)
			}
			t.actions[r], t.bounces[r] = a, a
			if r.BounceWatch && !named[r.ID] {
				t.bounces[r] = min(a, Watch)
			}
			t.runs[i] = t.runs[i] || a != Off
		}
	}
	return t, nil
}

// mergeTables returns a table with the most severe action of each reason, for the recipients of one message. It has no forwarders.
func mergeTables(instances []Instance, tables []*table) *table {
	merged := emptyTable(instances)
	for _, t := range tables {
		for r := range t.actions {
			merged.actions[r] = max(merged.actions[r], t.actions[r])
			merged.bounces[r] = max(merged.bounces[r], t.bounces[r])
		}
		for i, runs := range t.runs {
			merged.runs[i] = merged.runs[i] || runs
		}
		merged.partial = merged.partial || t.partial
	}
	return merged
}

// lacks reports whether a reason is off in t that is on in another table.
func (t *table) lacks(other *table) bool {
	for r, a := range other.actions {
		if a != Off && t.actions[r] == Off {
			return true
		}
	}
	return false
}

// addTables builds the action tables.
func (p *Pipeline) addTables() (err error) {
	if p.general, err = newTable(p.instances, p.opts.Actions, p.opts.Named); err != nil {
		return err
	}
	for _, policy := range p.opts.Policies {
		t, err := newTable(p.instances, policy.Actions, policy.Named)
		if err != nil {
			return fmt.Errorf("policy: %w", err)
		}
		t.recipients, t.forwarders, t.partial = policy.Recipients, policy.Forwarders, t.lacks(p.general)
		p.policies = append(p.policies, t)
	}
	return nil
}

// anyTable reports whether a condition holds for the actions of any recipients that are not exempt.
func (p *Pipeline) anyTable(holds func(*table) bool) bool {
	return holds(p.general) || slices.ContainsFunc(p.policies, holds)
}

// tableFor returns the actions for a recipient.
func (p *Pipeline) tableFor(rcpt Address) *table {
	if p.opts.Exempt.Contains(rcpt) {
		return p.exempt
	}
	for _, policy := range p.policies {
		if policy.recipients.Contains(rcpt) {
			return policy
		}
	}
	return p.general
}

// messageTable returns the actions at EndOfHeader and EndOfMessage: for each reason the most severe one of the accepted
// recipients.
func (run *Run) messageTable() *table {
	p := run.pipeline
	var tables []*table
	for _, r := range run.session.Envelope.Rcpts {
		if r.Refused != "" {
			continue
		}
		if t := p.tableFor(r.Address); !slices.Contains(tables, t) {
			tables = append(tables, t)
		}
	}
	switch len(tables) {
	case 0:
		return p.general
	case 1:
		return tables[0]
	default:
		return mergeTables(p.instances, tables)
	}
}
