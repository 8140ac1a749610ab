package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"milterd/checks"
)

// reasonsOf lists the reasons of a registry in its order.
func reasonsOf(registry []checks.Info) []*checks.Reason {
	var all []*checks.Reason
	for _, info := range registry {
		all = append(all, info.Reasons...)
	}
	return all
}

// most is the most severe action that a reason may be set to.
func most(r *checks.Reason) checks.Action {
	if r.Most == checks.Off {
		return checks.Reject
	}
	return r.Most
}

// profileActions is the column of a profile.
func profileActions(p checks.Profile, registry []checks.Info) map[string]checks.Action {
	actions := map[string]checks.Action{}
	for _, r := range reasonsOf(registry) {
		actions[r.ID] = min(p.Action(r), most(r))
	}
	return actions
}

// profile reads the name of a profile.
func (c *compiler) profile(name, path string) checks.Profile {
	if c.broken[path] {
		return checks.Safe
	}
	p, err := checks.ParseProfile(name)
	if err != nil {
		c.fail(c.where(path), path, "unknown profile %s%s", quote(name), didYouMean(name, checks.ProfileNames()))
	}
	return p
}

// actions lays the actions of the section at path over others.
func (c *compiler) actions(base map[string]checks.Action, words map[string]word, path string) map[string]checks.Action {
	out := maps.Clone(base)
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
		case ok && a > most(reasons[i]):
			c.fail(c.where(sub), sub, "%s is too much for this reason: %s is the most it can be set to", a, most(reasons[i]))
		case ok:
			out[id] = a
		}
	}
	return out
}

// action reads the name of an action.
func (c *compiler) action(w word, path string) (checks.Action, bool) {
	if c.broken[path] {
		return checks.Off, false
	}
	if w.isOff() {
		return checks.Off, true
	}
	a, err := checks.ParseAction(string(w))
	if err != nil {
		c.fail(c.where(path), path, "unknown action %s%s", quote(string(w)), didYouMean(string(w), checks.ActionNames()))
	}
	return a, err == nil
}

func (c *compiler) unknownReason(id, path string) {
	at := c.keyAt[join(path, id)]
	if slices.ContainsFunc(checks.PipelineReasons(), func(r *checks.Reason) bool { return r.ID == id }) {
		c.fail(at, path, "the action of reason %s cannot be set", quote(id))
		return
	}
	var valid []string
	for _, r := range reasonsOf(c.registry) {
		valid = append(valid, r.ID)
	}
	c.fail(at, path, "unknown reason %s%s", quote(id), didYouMean(id, valid))
}

// policies resolves the policies per recipient over the general actions.
func (c *compiler) policies(general map[string]checks.Action) []checks.Policy {
	var out []checks.Policy
	for i, p := range c.file.Policies {
		path := fmt.Sprintf("policies[%d]", i)
		if c.broken[path] {
			continue
		}
		if len(p.Recipients) == 0 && !c.broken[path+".recipients"] {
			c.fail(c.where(path), path, "recipients are missing, so that it never applies")
		}
		base := general
		// A profile of its own is a clean sheet: "watch" must not refuse what the general actions refuse.
		if c.given(path + ".profile") {
			base = profileActions(c.profile(p.Profile, path+".profile"), c.registry)
		}
		out = append(out, checks.Policy{
			Recipients: c.recipients(p.Recipients, path+".recipients"),
			Actions:    c.actions(base, p.Actions, path+".actions"),
			Forwarders: c.forwarders(p.Forwarders, path+".forwarders"),
		})
	}
	return out
}

// forwarders reads addresses, networks and names.
func (c *compiler) forwarders(texts []string, path string) checks.Forwarders {
	var f checks.Forwarders
	for i, text := range texts {
		at := c.item(path, i)
		if c.broken[at] {
			continue
		}
		if checks.LooksLikeNetwork(text) {
			n, err := checks.ParseNetwork(text)
			if err != nil {
				c.fail(c.where(at), at, "%s", err)
				continue
			}
			f.Networks = append(f.Networks, n)
			continue
		}
		name, err := domainName(strings.TrimPrefix(text, "."))
		if err != nil || !strings.Contains(name, ".") {
			c.fail(c.where(at), at, "want an address, a network or a host name, got %s", quote(text))
			continue
		}
		f.Names = append(f.Names, name)
	}
	return f
}
