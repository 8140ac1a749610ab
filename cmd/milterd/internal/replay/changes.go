package replay

import (
	"cmp"
	"slices"
	"strings"

	"milterd/checks"
)

// changes compares the results of two configurations, and finds which differences between their files are the cause.
type changes struct {
	base, against *judge
	differences   []*difference
	groups        []*change // in the order of their first messages
	count         int       // messages with different results
	refused       int       // by against
	rejected      int       // of refused
	trusted       int       // by against

	checkOf map[string]string // by reason id
	order   map[string]int    // of the checks, by name
}

// change is messages with the same pair of results for the same cause.
type change struct {
	From, To string
	Because  []*difference
	Hits     []*hit
}

func newChanges(base, against *judge) *changes {
	c := &changes{
		base: base, against: against, differences: differences(base.config, against.config),
		checkOf: map[string]string{}, order: map[string]int{},
	}
	for i, inst := range base.instances {
		c.order[inst.Info.Name] = i
		for _, r := range inst.Info.Reasons {
			c.checkOf[r.ID] = inst.Info.Name
		}
	}
	for _, d := range c.differences {
		if id, ok := strings.CutPrefix(d.Key, "actions."); ok {
			d.Old = cmp.Or(d.Old, base.opts.Actions[id].String()+" of the profile")
			d.New = cmp.Or(d.New, against.opts.Actions[id].String()+" of the profile")
		}
	}
	return c
}

// add adds the results of a message.
func (c *changes) add(m *mail, res results) {
	if res.against.trusted {
		c.trusted++
	}
	if res.against.action.Enforced() {
		c.refused++
	}
	if res.against.action == checks.Reject {
		c.rejected++
	}
	from, to := res.base.String(), res.against.String()
	if from == to {
		return
	}
	c.count++
	because := c.causesOf(m, res)
	for _, d := range because {
		d.Messages++
	}
	i := slices.IndexFunc(c.groups, func(g *change) bool { return g.From == from && g.To == to && slices.Equal(g.Because, because) })
	if i < 0 {
		i = len(c.groups)
		c.groups = append(c.groups, &change{From: from, To: to, Because: because})
	}
	c.groups[i].Hits = append(c.groups[i].Hits, newHit(m, res.base.facts))
}

// byEffect returns the differences that changed a result, and the others.
func (c *changes) byEffect() (effective, idle []*difference) {
	for _, d := range c.differences {
		if d.Messages > 0 {
			effective = append(effective, d)
		} else {
			idle = append(idle, d)
		}
	}
	return effective, idle
}
