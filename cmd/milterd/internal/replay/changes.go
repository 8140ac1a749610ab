package replay

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"milterd/checks"
)

// changes compares the results of two configurations, and says which differences between their files are the
// cause. base and against are the configurations of Options; both decide all messages.
type changes struct {
	base, against *judge
	differences   []*difference
	groups        []*change // in the order of their first messages
	count         int       // messages with different results
	refused       int       // by against
	rejected      int       // of refused
	trusted       int       // by against

	trustDiffers bool // the configurations differ in their site or in the clients that they trust
	otherDiffers bool // they differ in other keys that have an effect

	checkOf map[string]string // by reason id
	order   map[string]int    // of the checks, by name
}

// change is messages with the same pair of results for the same cause.
type change struct {
	from, to string
	because  []*difference
	hits     []*hit
}

func newChanges(base, against *judge) *changes {
	c := &changes{
		base: base, against: against, differences: differences(base.config, against.config),
		checkOf: map[string]string{}, order: map[string]int{},
	}
	c.trustDiffers = !reflect.DeepEqual(base.site, against.site) || !reflect.DeepEqual(base.opts.Trusted, against.opts.Trusted)
	c.otherDiffers = slices.ContainsFunc(c.differences, func(d *difference) bool { return !d.hasNoEffect() && !d.isTrust() })
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

// add adds the results of a message: of base, of middleConfig and of against.
func (c *changes) add(m *mail, before, middle, after result) {
	if after.trusted {
		c.trusted++
	}
	if after.action.Enforced() {
		c.refused++
	}
	if after.action == checks.Reject {
		c.rejected++
	}
	from, to := before.String(), after.String()
	if from == to {
		return
	}
	c.count++
	because := c.because(m, before, middle, after)
	for _, d := range because {
		d.Messages++
	}
	i := slices.IndexFunc(c.groups, func(g *change) bool { return g.from == from && g.to == to && slices.Equal(g.because, because) })
	if i < 0 {
		i = len(c.groups)
		c.groups = append(c.groups, &change{from: from, to: to, because: because})
	}
	c.groups[i].hits = append(c.groups[i].hits, newHit(m, before.facts))
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

// because returns the differences that are the cause of a change, in the order of the files. They are about trust if the
// results of base and middle differ, and about checks and actions if those of middle and against differ.
func (c *changes) because(m *mail, before, middle, after result) []*difference {
	var causes []*difference
	if before.String() != middle.String() {
		causes = c.trustCauses(m, after)
	}
	if middle.String() != after.String() {
		causes = append(causes, c.policyCauses(middle, after)...)
	}
	return slices.DeleteFunc(slices.Clone(c.differences), func(d *difference) bool { return !slices.Contains(causes, d) })
}

// trustCauses returns the differences without which against would read the message, or trust its client, in another way. If several have
// the same effect, a result does not need any one of them; then it returns all differences about trust.
func (c *changes) trustCauses(m *mail, after result) []*difference {
	keys := c.siteKeys(m, after)
	s := &checks.Session{Client: after.facts.Client, Local: after.facts.Local, AuthUser: after.facts.User}
	trust := c.against.opts.Trusted
	trusts := trust.Trusts(s)
	networks, authenticated := trust, trust
	networks.Networks, authenticated.Authenticated = c.base.opts.Trusted.Networks, c.base.opts.Trusted.Authenticated
	if networks.Trusts(s) != trusts {
		keys = append(keys, "trusted.networks")
	}
	if authenticated.Trusts(s) != trusts {
		keys = append(keys, "trusted.authenticated")
	}
	causes := c.where(func(d *difference) bool { return slices.Contains(keys, d.Key) })
	if len(causes) == 0 {
		return c.where((*difference).isTrust)
	}
	return causes
}

// siteKeys returns the keys without whose difference the site of against would read the message in another way. It returns none if base
// reads it in the same way, and all keys of a site if several have the same effect, so that none is needed.
func (c *changes) siteKeys(m *mail, after result) []string {
	base, against := c.base.site, c.against.site
	if reflect.DeepEqual(m.facts(base), after.facts) {
		return nil
	}
	hostname, domains, networks := against, against, against
	hostname.Hostname, domains.Domains, networks.Trusted = base.Hostname, base.Domains, base.Trusted
	var keys []string
	if !reflect.DeepEqual(m.facts(hostname), after.facts) {
		keys = append(keys, "hostname")
	}
	if !reflect.DeepEqual(m.facts(domains), after.facts) {
		keys = append(keys, "local_domains")
	}
	if !reflect.DeepEqual(m.facts(networks), after.facts) {
		keys = append(keys, "trusted.networks")
	}
	if keys == nil {
		keys = []string{"hostname", "local_domains", "trusted.networks"}
	}
	return keys
}

// where returns the differences for which match is true.
func (c *changes) where(match func(*difference) bool) []*difference {
	return slices.DeleteFunc(slices.Clone(c.differences), func(d *difference) bool { return !match(d) })
}
