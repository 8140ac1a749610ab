package replay

import (
	"reflect"
	"slices"

	"milterd/checks"
	"milterd/cmd/milterd/internal/received"
)

// results is what three configurations do with one message: base and against are those of Options, middle is that of middleConfig. Without
// Options.Against, only base has a result.
type results struct{ base, middle, against result }

// causesOf returns the differences that are the cause of a change, in the order of the files. The configuration middle reads the message
// and trusts its client as against does, and checks it as base does. So what changes from base to middle is because of the site and the
// trust (trustCauses), and what changes from middle to against is because of checks and actions (policyCauses).
func (c *changes) causesOf(m *mail, res results) []*difference {
	var causes []*difference
	if res.base.String() != res.middle.String() {
		causes = c.trustCauses(m, res.against)
	}
	if res.middle.String() != res.against.String() {
		causes = append(causes, c.policyCauses(res.middle, res.against)...)
	}
	return c.where(func(d *difference) bool { return slices.Contains(causes, d) })
}

// middleConfig returns a configuration with the checks and actions of base, and the site and trusted clients of against.
func middleConfig(base, against *judge) Config {
	c := base.config
	c.Site = against.config.Site
	c.Build = func(env checks.Env) ([]checks.Instance, checks.Options, error) {
		instances, opts, err := base.config.Build(env)
		opts.Trusted = against.opts.Trusted
		return instances, opts, err
	}
	return c
}

// where returns the differences for which match is true.
func (c *changes) where(match func(*difference) bool) []*difference {
	return slices.DeleteFunc(slices.Clone(c.differences), func(d *difference) bool { return !match(d) })
}

// trustCauses returns the differences about the site and the trust that are the cause of a change. To find them, against gets the value of
// base for one key at a time: the difference is a cause if the message is then read, or its client trusted, in another way. If several keys
// have the same effect, no single one is a cause by this rule; then all differences about trust are.
func (c *changes) trustCauses(m *mail, against result) []*difference {
	keys := c.siteKeys(m, against.facts)
	s := &checks.Session{Client: against.facts.Client, Local: against.facts.Local, AuthUser: against.facts.User}
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
		return c.where(func(d *difference) bool { return d.isOf(aboutTrust) })
	}
	return causes
}

// siteKeys returns the keys of the site that are a cause by the rule of trustCauses. facts are what against reads of the message. It returns
// none if base reads the same, and all keys if several have the same effect.
func (c *changes) siteKeys(m *mail, facts received.Facts) []string {
	base, against := c.base.config.Site, c.against.config.Site
	reads := func(s received.Site) bool { return reflect.DeepEqual(m.facts(s), facts) }
	if reads(base) {
		return nil
	}
	hostname, domains, networks := against, against, against
	hostname.Hostname, domains.Domains, networks.Trusted = base.Hostname, base.Domains, base.Trusted
	var keys []string
	if !reads(hostname) {
		keys = append(keys, "hostname")
	}
	if !reads(domains) {
		keys = append(keys, "local_domains")
	}
	if !reads(networks) {
		keys = append(keys, "trusted.networks")
	}
	if keys == nil {
		keys = []string{"hostname", "local_domains", "trusted.networks"}
	}
	return keys
}

// policyCauses returns the differences about checks and actions that are the cause of a change from middle to against: those about the
// actions of the reasons that decided, and about the settings of the checks that found such a reason for one of the two only. If there is
// none, it returns the differences that may be about any reason.
func (c *changes) policyCauses(middle, against result) []*difference {
	s := c.suspects(middle, against)
	causes := c.where(func(d *difference) bool { return c.isAbout(d, s) })
	if len(causes) == 0 {
		return c.where(func(d *difference) bool { return d.isOf(aboutAnything) })
	}
	return causes
}

// isAbout reports whether a difference is about a suspect.
func (c *changes) isAbout(d *difference, s suspects) bool {
	switch kind, name := d.kind(); kind {
	case aboutEscalation:
		return s.sameReason
	case aboutAction:
		return slices.Contains(s.reasons, name)
	case aboutCheck:
		return slices.Contains(s.checks, name)
	case aboutProfile:
		return slices.ContainsFunc(s.reasons, c.profileDecides)
	default:
		return false
	}
}

// profileDecides reports whether a reason has another action because of the profile.
func (c *changes) profileDecides(id string) bool {
	return c.base.opts.Actions[id] != c.against.opts.Actions[id] &&
		!slices.ContainsFunc(c.differences, func(d *difference) bool { return d.Key == "actions."+id })
}

// suspects is what the results of middle and against differ in.
type suspects struct {
	reasons    []string // ids of reasons whose action may be the cause
	checks     []string // names of checks whose settings may be
	sameReason bool     // both were refused for one reason, with other actions
}

func (c *changes) suspects(middle, against result) suspects {
	s := suspects{sameReason: middle.reason != nil && against.reason != nil && middle.reason.ID == against.reason.ID}
	c.addRefusal(&s, middle, against, c.against.opts.Actions)
	c.addRefusal(&s, against, middle, c.base.opts.Actions)
	for _, o := range against.outcomes { // against watches a reason for which base would refuse the mail at a later stage
		id := o.Reason.ID
		if !o.Action.Enforced() && c.base.opts.Actions[id].Enforced() && !c.against.opts.Actions[id].Enforced() {
			s.reasons = append(s.reasons, id)
		}
	}
	return s
}

// addRefusal adds the reason that refused the message in one result. If that is greylisting, it also adds the reasons
// with the action greylist that are not in the other result. actions are those of the other result's configuration.
func (c *changes) addRefusal(s *suspects, one, other result, actions map[string]checks.Action) {
	if one.reason == nil {
		return
	}
	found := []string{one.reason.ID} // reasons that a check found
	s.reasons = append(s.reasons, one.reason.ID)
	if one.reason.Greylisting {
		if ids := onlyGreylisted(one, other); len(ids) > 0 {
			found = ids
			s.reasons = append(s.reasons, ids...)
		}
	}
	for _, id := range found {
		if c.missed(id, other, actions[id]) {
			s.checks = append(s.checks, c.checkOf[id])
		}
	}
}

// onlyGreylisted returns the reasons with the action greylist in one result that are not in the other.
func onlyGreylisted(one, other result) (ids []string) {
	for _, o := range one.outcomes {
		same := func(p checks.Outcome) bool { return p.Reason.ID == o.Reason.ID && p.Action == o.Action }
		if o.Action == checks.Greylist && !slices.ContainsFunc(other.outcomes, same) {
			ids = append(ids, o.Reason.ID)
		}
	}
	return ids
}

// missed reports whether a check that ran for a result did not find a reason whose action is not off.
func (c *changes) missed(id string, by result, action checks.Action) bool {
	applied := slices.ContainsFunc(by.outcomes, func(o checks.Outcome) bool { return o.Reason.ID == id })
	return !applied && action != checks.Off && (!by.action.Enforced() || c.order[c.checkOf[by.reason.ID]] >= c.order[c.checkOf[id]])
}
