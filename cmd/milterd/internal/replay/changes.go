package replay

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"milterd/checks"
)

// changes compares two configurations by what becomes of the messages.
type changes struct {
	differences []*Difference
	groups      []*change
	count       int
	refused     int  // by the other configuration
	rejected    int  // of those, for good
	trusted     int  // not checked by it
	distrust    bool // they differ about whom they trust, or how the site reads a message
	mixed       bool // and about other things too
	trust       [2]checks.Trusted
	policies    [2]map[string]checks.Action // by reason id
	checkOf     map[string]string           // by reason id
	order       map[string]int              // of the checks
}

// Difference is a key that two configuration files have with other values.
type Difference struct {
	Key      string
	Old, New string // empty: not given
	Place    string // file and line of the new value, else of the old one
	Messages int    // whose fate it changes
}

// String is the difference for people.
func (d *Difference) String() string {
	show := func(s string) string {
		if s == "" {
			return "not given"
		}
		return s
	}
	return fmt.Sprintf("%s: %s: %s instead of %s", d.Place, d.Key, show(d.New), show(d.Old))
}

// change is what became of some messages under both configurations.
type change struct {
	from, to string // such as "reject date-future", "accept"
	because  []*Difference
	hits     hits
}

func newChanges(opts Options) *changes {
	return &changes{differences: compare(opts.Config, *opts.Against)}
}

// sides tells the changes which check has which reason, and what the configurations do about it and about trust; and whether their
// sites differ.
func (c *changes) sides(base, against *side, sites bool) {
	c.trust = [2]checks.Trusted{base.opts.Trusted, against.opts.Trusted}
	c.distrust = sites || !reflect.DeepEqual(c.trust[0], c.trust[1])
	c.mixed = c.distrust && slices.ContainsFunc(c.differences, func(d *Difference) bool { return !d.idle() && !strings.HasPrefix(d.Key, "trusted") })
	c.policies = [2]map[string]checks.Action{base.opts.Actions, against.opts.Actions}
	c.checkOf, c.order = map[string]string{}, map[string]int{}
	for i, inst := range base.instances {
		c.order[inst.Info.Name] = i
		for _, r := range inst.Info.Reasons {
			c.checkOf[r.ID] = inst.Info.Name
		}
	}
	for _, d := range c.differences {
		id, ok := strings.CutPrefix(d.Key, "actions.")
		if !ok {
			continue
		}
		if d.Old == "" {
			d.Old = fmt.Sprintf("%s of the profile", c.policies[0][id])
		}
		if d.New == "" {
			d.New = fmt.Sprintf("%s of the profile", c.policies[1][id])
		}
	}
}

// halfway is the fate of a message by the checks and actions of the one configuration with the site and the trust of the other one,
// if they differ about one of the two alone.
func (c *changes) halfway(f, other fate) fate {
	if c.distrust {
		return other
	}
	return f
}

func (c *changes) close() {
	for _, g := range c.groups {
		g.hits.close()
	}
}

// compared notes a message that fares otherwise under the other configuration.
func (r *Report) compared(m *mail, f, half, other fate) error {
	from, to := f.String(), other.String()
	c := r.changes
	if other.trusted {
		c.trusted++
	}
	if other.action.Enforced() {
		c.refused++
	}
	if other.action == checks.Reject {
		c.rejected++
	}
	if from == to {
		return nil
	}
	c.count++
	because := c.because(m, f, half, other)
	for _, d := range because {
		d.Messages++
	}
	i := slices.IndexFunc(c.groups, func(g *change) bool { return g.from == from && g.to == to && slices.Equal(g.because, because) })
	if i < 0 {
		i = len(c.groups)
		c.groups = append(c.groups, &change{from: from, to: to, because: because})
	}
	return c.groups[i].hits.add(hitOf(m))
}

// String is what becomes of a message, for people.
func (f fate) String() string {
	switch {
	case f.trusted:
		return "not checked"
	case f.reason == nil:
		return "accept"
	default:
		return f.action.String() + " " + f.reason.ID
	}
}

// effective are the differences that change the fate of some message, and idle the others.
func (c *changes) effective() (effective, idle []*Difference) {
	for _, d := range c.differences {
		if d.Messages > 0 {
			effective = append(effective, d)
		} else {
			idle = append(idle, d)
		}
	}
	return effective, idle
}

// because are the differences that explain why two fates differ. What lies between them is the fate by the checks and actions of
// the one side, if it had the site and the trust of the other one: where that makes a difference, so do the keys of these.
func (c *changes) because(m *mail, f, half, other fate) []*Difference {
	var all []*Difference
	if f.String() != half.String() {
		all = c.ofTrust(m)
	}
	if half.String() != other.String() {
		all = append(all, c.ofChecks(half, other)...)
	}
	return slices.DeleteFunc(slices.Clone(c.differences), func(d *Difference) bool { return !slices.Contains(all, d) })
}

// ofTrust are the differences by which a message is read otherwise, or trusted: each without which it would not be. If there are
// none, because each of several would do, they are those about trust.
func (c *changes) ofTrust(m *mail) []*Difference {
	as := m.as(true)
	session := &checks.Session{Client: as.Client, Local: as.Local, AuthUser: as.User}
	trusted := c.trust[1].Trusts(session)
	networks, authenticated := c.trust[1], c.trust[1]
	networks.Networks, authenticated.Authenticated = c.trust[0].Networks, c.trust[0].Authenticated
	blamed := map[string]bool{
		"hostname":              m.Why&hostname != 0,
		"local_domains":         m.Why&localDomains != 0,
		"trusted.networks":      m.Why&trustedNetworks != 0 || networks.Trusts(session) != trusted,
		"trusted.authenticated": authenticated.Trusts(session) != trusted,
	}
	var each, trust []*Difference
	for _, d := range c.differences {
		if blamed[d.Key] {
			each = append(each, d)
		}
		if strings.HasPrefix(d.Key, "trusted") {
			trust = append(trust, d)
		}
	}
	if len(each) > 0 {
		return each
	}
	return trust
}

// ofChecks are the differences that explain why two fates differ though both sides read the same and trust the same: the actions for
// a reason that decided or for a suspicion of greylisting; the settings of a check that has found such a reason on one side alone;
// if there are none, those that may be about any reason.
func (c *changes) ofChecks(f, other fate) []*Difference {
	why := c.blame(f, other)
	var special, general []*Difference
	for _, d := range c.differences {
		switch concerned := c.concerns(d, why); {
		case concerned == yes:
			special = append(special, d)
		case concerned == perhaps:
			general = append(general, d)
		}
	}
	if len(special) > 0 {
		return special
	}
	return general
}

type answerOf uint8

const (
	no answerOf = iota
	perhaps
	yes
)

// words are the parts of the key.
func (d *Difference) words() []string {
	return strings.FieldsFunc(d.Key, func(r rune) bool { return r == '.' || r == '[' })
}

// idle tells whether a difference decides nothing about mail.
func (d *Difference) idle() bool { return slices.Contains(aside[:], d.words()[0]) }

// aside are the keys that decide nothing about mail.
var aside = [...]string{"listen", "max_connections", "budget", "explain", "admin", "records", "dns", "store", "log"}

// blame is what two fates differ by.
type blame struct {
	reasons []string // that decided, or would have, or were a suspicion on one side alone: the actions for them
	checks  []string // that found a reason on one side alone: the settings of them
	same    bool     // one reason decided on both sides
}

func (c *changes) blame(f, other fate) blame {
	b := blame{same: f.reason != nil && other.reason != nil && f.reason.ID == other.reason.ID}
	for side, pair := range [][2]fate{{f, other}, {other, f}} {
		one, another := pair[0], pair[1]
		if one.reason == nil {
			continue
		}
		subjects := []string{one.reason.ID}
		if one.reason.Greylisting {
			for _, o := range one.outcomes {
				same := func(p checks.Outcome) bool { return p.Reason.ID == o.Reason.ID && p.Action == o.Action }
				if o.Action == checks.Greylist && !slices.ContainsFunc(another.outcomes, same) {
					subjects = append(subjects, o.Reason.ID)
				}
			}
		}
		b.reasons = append(b.reasons, subjects...)
		if len(subjects) > 1 {
			subjects = subjects[1:] // the suspicions explain the greylisting
		}
		for _, id := range subjects {
			if c.missed(id, another, c.policies[1-side][id]) {
				b.checks = append(b.checks, c.checkOf[id])
			}
		}
	}
	for _, o := range other.outcomes { // what it watches, the action of the other one would have refused
		if id := o.Reason.ID; !o.Action.Enforced() && c.policies[0][id].Enforced() && !c.policies[1][id].Enforced() {
			b.reasons = append(b.reasons, id)
		}
	}
	return b
}

// missed tells whether a side has not found a reason, though it looked for it: it is not off, and nothing before it has refused.
func (c *changes) missed(id string, by fate, action checks.Action) bool {
	found := slices.ContainsFunc(by.outcomes, func(o checks.Outcome) bool { return o.Reason.ID == id })
	return !found && action != checks.Off && (by.reason == nil || c.order[c.checkOf[by.reason.ID]] >= c.order[c.checkOf[id]])
}

// concerns tells whether a difference is to blame.
func (c *changes) concerns(d *Difference, why blame) answerOf {
	words := d.words()
	about := func(match bool) answerOf {
		if match {
			return yes
		}
		return no
	}
	switch {
	case d.idle():
		return no
	case words[0] == "trusted":
		return no // both sides trust the same
	case words[0] == "escalate":
		return about(why.same)
	case slices.Contains(words, "actions") && words[len(words)-1] != "actions": // of a policy too
		return about(slices.Contains(why.reasons, words[slices.Index(words, "actions")+1]))
	case words[0] == "checks" && len(words) > 1:
		return about(slices.Contains(why.checks, words[1]))
	case words[0] == "profile":
		return about(slices.ContainsFunc(why.reasons, func(id string) bool {
			given := func(d *Difference) bool { return d.Key == "actions."+id }
			return c.policies[0][id] != c.policies[1][id] && !slices.ContainsFunc(c.differences, given)
		}))
	default:
		return perhaps
	}
}

// compare finds the keys that two configuration files have with other values. Both are known to be right.
func compare(a, b Config) []*Difference {
	olds, news := flatten(a.Text), flatten(b.Text)
	var out []*Difference
	for _, n := range news {
		i := slices.IndexFunc(olds, func(o leaf) bool { return o.key == n.key })
		if i < 0 || olds[i].value != n.value {
			d := &Difference{Key: n.key, New: n.value, Place: fmt.Sprintf("%s:%d", path.Base(b.Name), n.line)}
			if i >= 0 {
				d.Old = olds[i].value
			}
			out = append(out, d)
		}
	}
	for _, o := range olds {
		if !slices.ContainsFunc(news, func(n leaf) bool { return n.key == o.key }) {
			out = append(out, &Difference{Key: o.key, Old: o.value, Place: fmt.Sprintf("%s:%d", path.Base(a.Name), o.line)})
		}
	}
	return out
}

// leaf is a value of a configuration file. A list of plain values is one.
type leaf struct {
	key, value string
	line       int
}

func flatten(text []byte) []leaf {
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 {
		return nil
	}
	var out []leaf
	var walk func(n *yaml.Node, key string, line int)
	walk = func(n *yaml.Node, key string, line int) {
		switch {
		case n.Kind == yaml.AliasNode:
			walk(n.Alias, key, line)
		case n.Kind == yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				sub := n.Content[i].Value
				if key != "" {
					sub = key + "." + sub
				}
				walk(n.Content[i+1], sub, n.Content[i].Line)
			}
		case n.Kind == yaml.SequenceNode && !plain(n):
			for i, c := range n.Content {
				walk(c, fmt.Sprintf("%s[%d]", key, i), c.Line)
			}
		case n.Kind == yaml.SequenceNode:
			var words []string
			for _, c := range n.Content {
				words = append(words, c.Value)
			}
			out = append(out, leaf{key, "[" + strings.Join(words, ", ") + "]", line})
		default:
			out = append(out, leaf{key, n.Value, line})
		}
	}
	walk(doc.Content[0], "", 1)
	return out
}

// plain tells whether a list has plain values alone.
func plain(n *yaml.Node) bool {
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return c.Kind != yaml.ScalarNode })
}
