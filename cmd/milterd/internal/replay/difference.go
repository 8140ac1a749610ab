package replay

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"milterd/checks/dnsbl"
)

// difference is a key with different values in two configuration files.
type difference struct {
	Key      string // such as "checks.greylist.delay"
	Old, New string // empty if the key is not given
	Place    string // file and line of the new value, else of the old one
	Messages int    // messages with a different result because of it
}

// String returns the difference as the report shows it.
func (d *difference) String() string {
	const none = "not given"
	return fmt.Sprintf("%s: %s: %s instead of %s", d.Place, d.Key, cmp.Or(d.New, none), cmp.Or(d.Old, none))
}

// withoutResult are the keys that have no effect on results.
var withoutResult = []string{
	"listen", "max_connections", "memory", "budget", "explain", "admin", "trace_fields", "tag", "records", "mirror", "dns", "store", "log",
}

// kind is what a difference is about.
type kind uint8

const (
	aboutNothing kind = iota // it has no effect on results
	aboutTrust               // which clients are trusted
	aboutEscalation
	aboutProfile
	aboutAction   // of one reason
	aboutCheck    // the settings of one check
	aboutAnything // it may change any result
)

// kind returns what the difference is about, and the id of the reason or the name of the check if it is about one.
func (d *difference) kind() (k kind, name string) {
	words := strings.FieldsFunc(d.Key, func(r rune) bool { return r == '.' || r == '[' })
	id := slices.Index(words, "actions") + 1 // of a policy too
	switch {
	case slices.Contains(withoutResult, words[0]):
		return aboutNothing, ""
	case words[0] == "trusted":
		return aboutTrust, ""
	case words[0] == "escalate":
		return aboutEscalation, ""
	case id > 0 && id < len(words):
		return aboutAction, words[id]
	case words[0] == "checks" && len(words) > 1:
		return aboutCheck, words[1]
	case words[0] == "profile":
		return aboutProfile, ""
	default:
		return aboutAnything, ""
	}
}

// isOf reports whether the difference is of a kind.
func (d *difference) isOf(k kind) bool {
	is, _ := d.kind()
	return is == k
}

// differences compares two valid configuration files.
func differences(before, after Config) []*difference {
	olds, news := flatten(before.Text), flatten(after.Text)
	find := func(list []setting, key string) int {
		return slices.IndexFunc(list, func(s setting) bool { return s.key == key })
	}
	var list []*difference
	for _, n := range news {
		d := &difference{Key: n.key, New: n.shown(), Place: n.place(after)}
		i := find(olds, n.key)
		if i >= 0 && olds[i].value == n.value {
			continue
		}
		if i >= 0 {
			d.Old = olds[i].shown()
		}
		list = append(list, d)
	}
	for _, o := range olds {
		if find(news, o.key) < 0 {
			list = append(list, &difference{Key: o.key, Old: o.shown(), Place: o.place(before)})
		}
	}
	return list
}

// setting is a value of a configuration file. A list of scalars is one value.
type setting struct {
	key, value string
	line       int
}

func (s setting) place(c Config) string { return fmt.Sprintf("%s:%d", path.Base(c.Name), s.line) }

// shown returns the value for the report, which may go to other people: without passwords and API keys.
func (s setting) shown() string {
	switch {
	case s.key == "admin.password":
		return "(not shown)"
	case strings.HasSuffix(s.key, ".zone"): // of a DNS list
		return dnsbl.HideKeys(s.value)
	}
	if u, err := url.Parse(s.value); err == nil && u.User != nil {
		return u.Redacted()
	}
	return cmp.Or(s.value, `""`)
}

// flatten returns the settings of a configuration file.
func flatten(text []byte) []setting {
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 {
		return nil
	}
	return appendSettings(nil, doc.Content[0], "", 1)
}

// appendSettings appends the settings at and below a node. line is that of its key.
func appendSettings(list []setting, n *yaml.Node, key string, line int) []setting {
	switch {
	case n.Kind == yaml.AliasNode:
		return appendSettings(list, n.Alias, key, line)
	case n.Tag == "!!null": // a section without keys
		return list
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i].Value
			if key != "" {
				name = key + "." + name
			}
			list = appendSettings(list, n.Content[i+1], name, n.Content[i].Line)
		}
		return list
	case n.Kind == yaml.SequenceNode && slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return c.Kind != yaml.ScalarNode }):
		for i, c := range n.Content {
			list = appendSettings(list, c, fmt.Sprintf("%s[%d]", key, i), c.Line)
		}
		return list
	case n.Kind == yaml.SequenceNode:
		var words []string
		for _, c := range n.Content {
			words = append(words, c.Value)
		}
		return append(list, setting{key: key, value: "[" + strings.Join(words, ", ") + "]", line: line})
	default:
		return append(list, setting{key: key, value: n.Value, line: line})
	}
}
