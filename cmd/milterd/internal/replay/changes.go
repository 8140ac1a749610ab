package replay

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"milterd/checks"
	"milterd/checks/greylist"
)

// changes compares two configurations by what becomes of the messages.
type changes struct {
	differences []*Difference
	groups      []*change
	count       int
	policies    [2]map[string]checks.Action // by reason id
	checkOf     map[string]string           // by reason id
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

// actions tells the changes which check has which reason, and what the configurations do about it.
func (c *changes) actions(base, against *side) {
	c.policies = [2]map[string]checks.Action{base.opts.Actions, against.opts.Actions}
	c.checkOf = map[string]string{}
	for _, inst := range base.instances {
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

func (c *changes) close() {
	for _, g := range c.groups {
		g.hits.close()
	}
}

// compared notes a message that fares otherwise under the other configuration.
func (r *Report) compared(m *mail, f, other fate) error {
	from, to := f.String(), other.String()
	if from == to {
		return nil
	}
	c := r.changes
	c.count++
	because := c.because(f, other)
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

// because are the differences that explain why two fates differ: those about a reason that decided, about its check, or about
// a suspicion for which greylisting decided; if there are none, those about no reason.
func (c *changes) because(f, other fate) []*Difference {
	var reasons []string
	for _, pair := range [][2]fate{{f, other}, {other, f}} {
		one, another := pair[0], pair[1]
		if one.reason == nil {
			continue
		}
		reasons = append(reasons, one.reason.ID)
		if c.checkOf[one.reason.ID] != greylist.Info.Name {
			continue
		}
		for _, o := range one.outcomes {
			same := func(p checks.Outcome) bool { return p.Reason.ID == o.Reason.ID && p.Action == o.Action }
			if o.Action == checks.Greylist && !slices.ContainsFunc(another.outcomes, same) {
				reasons = append(reasons, o.Reason.ID)
			}
		}
	}
	var special, general []*Difference
	for _, d := range c.differences {
		switch concerned := c.concerns(d, reasons); {
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

// aside are the keys that decide nothing about mail.
var aside = [...]string{"listen", "max_connections", "budget", "explain", "admin", "records", "dns", "store", "log"}

// concerns tells whether a difference is about one of the reasons.
func (c *changes) concerns(d *Difference, reasons []string) answerOf {
	words := strings.FieldsFunc(d.Key, func(r rune) bool { return r == '.' || r == '[' })
	about := func(match bool) answerOf {
		if match {
			return yes
		}
		return no
	}
	switch {
	case slices.Contains(aside[:], words[0]):
		return no
	case words[0] == "actions" && len(words) > 1:
		return about(slices.Contains(reasons, words[1]))
	case words[0] == "checks" && len(words) > 1:
		return about(slices.ContainsFunc(reasons, func(id string) bool { return c.checkOf[id] == words[1] }))
	case words[0] == "profile":
		return about(slices.ContainsFunc(reasons, func(id string) bool {
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
