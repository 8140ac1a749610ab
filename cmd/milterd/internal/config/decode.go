package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// decoder fills typed structs from YAML nodes, strictly: the yaml tag of a field is its key, the tag "one" the texts it
// may have. It reports every fault and remembers where each value stood, for the faults that are found later.
type decoder struct {
	*report
	at     map[string]spot // of each value, by its path
	keyAt  map[string]spot // of each key, by the path of its value
	broken map[string]bool // paths of values that were reported and left out
	visits int
}

// maxVisits bounds the work on a file, whose aliases may repeat each other.
const maxVisits = 250_000

// nodeReader is a type that reads its own node.
type nodeReader interface {
	readNode(d *decoder, n *yaml.Node, path string)
}

// root decodes the whole document. It returns false if much was not looked at.
func (d *decoder) root(n *yaml.Node, f *file) bool {
	if n == nil {
		return true
	}
	if n.Kind != yaml.MappingNode {
		d.fail(spotOf(n), "", "want keys such as profile: safe, got %s", describe(n))
		return false
	}
	d.structure(n, reflect.ValueOf(f).Elem(), "")
	return d.visits <= maxVisits && !d.full()
}

// given tells whether the file has a value at the path.
func (d *decoder) given(path string) bool {
	_, ok := d.at[path]
	return ok
}

// brokenIn tells whether something in the value at the path was reported and left out.
func (d *decoder) brokenIn(path string) bool {
	for p := range d.broken {
		if rest, ok := strings.CutPrefix(p, path); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// item is the path of an entry of the list at path: the path of the list if a single value stands for it.
func (d *decoder) item(path string, i int) string {
	if sub := fmt.Sprintf("%s[%d]", path, i); d.given(sub) || d.broken[sub] {
		return sub
	}
	return path
}

// where is the position of a value, or of what it would stand in.
func (d *decoder) where(path string) spot {
	for path != "" {
		if at, ok := d.at[path]; ok {
			return at
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return start
}

// spend counts a step of the work and tells whether to go on.
func (d *decoder) spend(n *yaml.Node, path string) bool {
	d.visits++
	if d.visits == maxVisits+1 {
		d.fail(spotOf(n), path, "too much: more than %d keys and values, with those that aliases repeat", maxVisits)
	}
	return d.visits <= maxVisits && !d.full()
}

// value decodes one node of whatever kind. It returns false if that is a scalar that v did not take.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) bool {
	n = target(n)
	if !d.spend(n, path) {
		return false
	}
	if isNull(n) && !isScalar(v.Type()) {
		return true // a section of which every line is a comment
	}
	d.at[path] = spotOf(n)
	if r, ok := v.Addr().Interface().(nodeReader); ok {
		r.readNode(d, n, path)
		return true
	}
	switch t := v.Type(); {
	case isScalar(t):
		return d.scalar(n, v, path)
	case t.Kind() == reflect.Struct:
		d.structure(n, v, path)
	case t.Kind() == reflect.Slice:
		d.list(n, v, path)
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		d.mapping(n, v, path)
	default:
		d.fail(spotOf(n), path, "milterd has settings of type %s and cannot read them, which is a bug", t)
	}
	return true
}

// target follows aliases.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// structure decodes a mapping into the fields of a struct and leaves alone those that are not given.
func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	fields := fieldsOf(v.Type())
	d.pairs(n, path, func(key, val *yaml.Node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value })
		if i < 0 {
			d.unknownKey("key", key, path, fields)
			return
		}
		f, sub := fields[i], join(path, key.Value)
		d.keyAt[sub] = spotOf(key)
		fv := v.Field(f.index)
		if d.value(val, fv, sub) && len(f.one) > 0 && !slices.Contains(f.one, fv.String()) {
			d.fail(d.where(sub), sub, "unknown value %s%s", quote(fv.String()), didYouMean(fv.String(), f.one))
			d.broken[sub] = true
		}
	})
}

// list decodes a list; a single value stands for a list of one.
func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	items, single := n.Content, false
	_, own := reflect.New(v.Type().Elem()).Interface().(nodeReader)
	switch {
	case n.Kind == yaml.SequenceNode:
	case n.Kind == yaml.ScalarNode && (own || isScalar(v.Type().Elem())), n.Kind == yaml.MappingNode && own:
		items, single = []*yaml.Node{n}, true
	default:
		d.broken[path] = true
		d.fail(spotOf(n), path, "want a list, got %s", describe(n))
		return
	}
	if len(items) == 0 {
		v.SetZero()
		return
	}
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		sub := fmt.Sprintf("%s[%d]", path, i)
		if single {
			sub = path
		}
		if isNull(target(item)) {
			d.broken[sub] = true
			d.fail(spotOf(item), sub, "the entry is empty")
			continue
		}
		d.value(item, list.Index(i), sub)
	}
	v.Set(list)
}

// mapping decodes a mapping whose keys are free.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	m := reflect.MakeMap(v.Type()) // not the one of the defaults, which others share
	d.pairs(n, path, func(key, val *yaml.Node) {
		sub := join(path, key.Value)
		d.keyAt[sub] = spotOf(key)
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(val, elem, sub)
		m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), elem)
	})
	if v.SetZero(); m.Len() > 0 {
		v.Set(m)
	}
}

// pairs calls do for each key and value of a mapping.
func (d *decoder) pairs(n *yaml.Node, path string, do func(key, val *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.broken[path] = true
		d.fail(spotOf(n), path, "want keys and values, got %s", describe(n))
		return
	}
	for i := 0; i+1 < len(n.Content) && d.spend(n, path); i += 2 {
		key := target(n.Content[i])
		switch {
		case key.Kind != yaml.ScalarNode:
			d.fail(spotOf(key), path, "want a key, got %s", describe(key))
		case key.Tag == "!!merge":
			d.fail(spotOf(key), path, "merge keys (<<) are not supported; an alias can stand for a whole value")
		default:
			do(key, n.Content[i+1])
		}
	}
}

// unknownKey reports a key that no field has. what says what a key is.
func (d *decoder) unknownKey(what string, key *yaml.Node, path string, fields []field) {
	var valid []string
	for _, f := range fields {
		valid = append(valid, f.key)
	}
	d.fail(spotOf(key), path, "unknown %s %s%s", what, quote(key.Value), didYouMean(key.Value, valid))
}

// field is a key of a section.
type field struct {
	index             int
	key, doc, example string
	one               []string // the texts it may have; nil: any
}

// fieldsOf lists the keys of a struct in their order. Fields without a yaml tag have none.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" || key == "-" || !f.IsExported() {
			continue
		}
		fields = append(fields, field{
			index: i, key: key, doc: f.Tag.Get("doc"), example: f.Tag.Get("example"), one: strings.Fields(f.Tag.Get("one")),
		})
	}
	return fields
}

// simpleKey is what can stand in a path as it is.
var simpleKey = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// join is the path of a key in the section at path.
func join(path, key string) string {
	switch {
	case !simpleKey.MatchString(key):
		return path + "[" + quote(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

// describe says what a node is, for a message.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys and values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.Tag == "!!int" || n.Tag == "!!float":
		return "the number " + escape(clip(n.Value, 40))
	case n.Tag == "!!timestamp":
		return "the date " + escape(clip(n.Value, 40))
	case n.Tag == "!!bool":
		return "the truth value " + escape(clip(n.Value, 40))
	default:
		return quote(n.Value)
	}
}
