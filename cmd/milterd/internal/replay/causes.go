package replay

import (
	"slices"

	"milterd/checks"
)

// policyCauses returns the differences that made two judges with the same site and trust get different results. They are
// about the actions of the reasons that decided, and about the settings of the checks that found such a reason for one
// judge only. If there is none, it returns the differences that may be about any reason.
func (c *changes) policyCauses(before, after result) []*difference {
	s := c.suspects(before, after)
	causes := c.where(func(d *difference) bool { return c.concerns(d, s) == specific })
	if len(causes) == 0 {
		return c.where(func(d *difference) bool { return c.concerns(d, s) == general })
	}
	return causes
}

// suspects is what two results differ in.
type suspects struct {
	reasons    []string // ids of reasons whose action may be the cause
	checks     []string // names of checks whose settings may be
	sameReason bool     // both were refused for one reason, with other actions
}

func (c *changes) suspects(before, after result) suspects {
	s := suspects{sameReason: before.reason != nil && after.reason != nil && before.reason.ID == after.reason.ID}
	c.addRefusal(&s, before, after, c.against.opts.Actions)
	c.addRefusal(&s, after, before, c.base.opts.Actions)
	for _, o := range after.outcomes { // against watches a reason for which base would refuse the mail at a later stage
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

// concern is how a difference concerns a change.
type concern uint8

const (
	unrelated concern = iota
	general           // it may be about any reason
	specific          // it is about a suspect
)

// concerns returns how a difference concerns a change with these suspects.
func (c *changes) concerns(d *difference, s suspects) concern {
	about := func(match bool) concern {
		if match {
			return specific
		}
		return unrelated
	}
	words := d.words()
	action := slices.Index(words, "actions") + 1 // of a policy too
	switch {
	case d.hasNoEffect(), d.isTrust():
		return unrelated
	case words[0] == "escalate":
		return about(s.sameReason)
	case action > 0 && action < len(words):
		return about(slices.Contains(s.reasons, words[action]))
	case words[0] == "checks" && len(words) > 1:
		return about(slices.Contains(s.checks, words[1]))
	case words[0] == "profile":
		return about(slices.ContainsFunc(s.reasons, c.profileDecides))
	default:
		return general
	}
}

// profileDecides reports whether a reason has another action because of the profile.
func (c *changes) profileDecides(id string) bool {
	return c.base.opts.Actions[id] != c.against.opts.Actions[id] &&
		!slices.ContainsFunc(c.differences, func(d *difference) bool { return d.Key == "actions."+id })
}
