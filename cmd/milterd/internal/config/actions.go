package config

import (
	"maps"
	"slices"

	"milterd/checks"
)

// reasonsOf returns the reasons of a registry in its order.
func reasonsOf(registry []checks.Info) []*checks.Reason {
	var all []*checks.Reason
	for _, info := range registry {
		all = append(all, info.Reasons...)
	}
	return all
}

// actionSet has the actions of one group of recipients.
type actionSet struct {
	byReason map[string]checks.Action // of every reason, by id
	named    map[string]bool          // ids of the reasons that an actions section names; nil for none
}

// profileActions returns the actions of a profile.
func profileActions(p checks.Profile, registry []checks.Info) actionSet {
	actions := map[string]checks.Action{}
	for _, r := range reasonsOf(registry) {
		actions[r.ID] = p.Action(r)
	}
	return actionSet{byReason: actions}
}

// profile parses the name of a profile.
func (c *compiler) profile(name, path string) checks.Profile {
	if c.rejected[path] {
		return checks.Safe
	}
	p, err := checks.ParseProfile(name)
	if err != nil {
		c.failAt(path, "unknown profile %s%s", quote(name), suggest(name, checks.ProfileNames()))
	}
	return p
}

// actions returns base with the actions of the section at path in place of its own.
func (c *compiler) actions(base actionSet, words map[string]word, path string) actionSet {
	out := actionSet{byReason: maps.Clone(base.byReason), named: maps.Clone(base.named)}
	reasons := reasonsOf(c.registry)
	for _, id := range slices.Sorted(maps.Keys(words)) {
		if c.full() {
			break
		}
		sub := join(path, id)
		a, ok := c.action(words[id], sub)
		i := slices.IndexFunc(reasons, func(r *checks.Reason) bool { return r.ID == id })
		switch {
		case i < 0:
			c.unknownReason(id, path)
		case ok && reasons[i].Most != checks.Off && a > reasons[i].Most:
			c.failAt(sub, "%s is too severe for this reason; use %s at most", a, reasons[i].Most)
		case ok && !reasons[i].Allows(a):
			c.failAt(sub, "%s lets the message in, and this reason is about one that waits; use off, watch, tempfail or reject", a)
		case ok:
			out.byReason[id] = a
			if out.named == nil {
				out.named = map[string]bool{}
			}
			out.named[id] = true
		}
	}
	return out
}

// action parses the name of an action.
func (c *compiler) action(w word, path string) (checks.Action, bool) {
	if c.rejected[path] {
		return checks.Off, false
	}
	if w.isOff() {
		return checks.Off, true
	}
	a, err := checks.ParseAction(string(w))
	if err != nil {
		c.failAt(path, "unknown action %s%s", quote(string(w)), suggest(string(w), checks.ActionNames()))
	}
	return a, err == nil
}

func (c *compiler) unknownReason(id, path string) {
	at := c.whereKey(join(path, id))
	if slices.ContainsFunc(checks.PipelineReasons(), func(r *checks.Reason) bool { return r.ID == id }) {
		c.fail(at, path, "the action of the reason %s cannot be set; delete the line", quote(id))
		return
	}
	var valid []string
	for _, r := range reasonsOf(c.registry) {
		valid = append(valid, r.ID)
	}
	c.fail(at, path, "unknown reason %s%s", quote(id), suggest(id, valid))
}

// policies resolves the policies. general are the actions of everyone else.
func (c *compiler) policies(general actionSet) []checks.Policy {
	var out []checks.Policy
	for path, p := range items(c, "policies", c.file.Policies) {
		if len(p.Recipients) == 0 && !c.rejected[path+".recipients"] {
			c.failAt(path, "the policy has no recipients and never applies; add recipients: [user@example.org]")
		}
		base := general
		// The general actions do not apply then: "profile: watch" must not refuse what they refuse.
		if c.given(path + ".profile") {
			base = profileActions(c.profile(p.Profile, path+".profile"), c.registry)
		}
		actions := c.actions(base, p.Actions, path+".actions")
		out = append(out, checks.Policy{
			Recipients: c.recipients(p.Recipients, path+".recipients"),
			Actions:    actions.byReason,
			Named:      actions.named,
			Forwarders: c.forwarders(p.Forwarders, path+".forwarders"),
		})
	}
	return out
}

// forwarders parses addresses, networks and names of hosts.
func (c *compiler) forwarders(texts []string, path string) checks.Forwarders {
	var f checks.Forwarders
	for at, text := range items(c, path, texts) {
		if err := f.Add(text); err != nil {
			c.failAt(at, "%s", err)
		}
	}
	return f
}
