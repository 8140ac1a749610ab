package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"milterd/checks"
)

// decoder fills structs from YAML nodes. It walks the tree of nodes and the struct side by side: value sets one Go value from one node,
// and structure, list and mapping do so for each part of it. Unlike the YAML library it reports every fault, goes on after it, and notes
// what the file has, for faults that are found later.
//
// A value is identified by its path, for example "policies[0].actions", which messages show too. The yaml tag of a field is its key, the
// tag "one" lists its permitted values.
type decoder struct {
	*report
	values   map[string]*value // that the file has, by path
	rejected map[string]bool   // paths of those that were reported and left out
	visits   int               // nodes decoded
	sections map[string]string // of the checks and the reasons, by name
	registry []checks.Info
}

// value is a value of the file.
type value struct {
	at     position
	key    position // of its key; zero for an entry of a list
	number string   // of a number or a duration, as written
}

func newDecoder(r *report, registry []checks.Info) *decoder {
	d := &decoder{report: r, values: map[string]*value{}, rejected: map[string]bool{}, sections: map[string]string{}, registry: registry}
	for _, info := range registry {
		d.sections[info.Name] = "checks"
		for _, reason := range info.Reasons {
			d.sections[reason.ID] = "actions"
		}
	}
	return d
}

// maxVisits bounds the work on a file. Aliases that refer to each other can make a short file endless.
const maxVisits = 250_000

// nodeReader is a type that decodes its own node.
type nodeReader interface {
	readNode(d *decoder, n *yaml.Node, path string)
}

// root decodes the whole document. It reports whether the document was decoded to its end.
func (d *decoder) root(n *yaml.Node, f *file) bool {
	if n == nil {
		return true
	}
	if n.Kind != yaml.MappingNode {
		d.fail(positionOf(n), "", "%s is not a configuration; write keys, such as profile: safe", describe(n))
		return false
	}
	d.structure(n, reflect.ValueOf(f).Elem(), "")
	return d.visits <= maxVisits && !d.full()
}

// visit counts a node and reports whether to decode it.
func (d *decoder) visit(n *yaml.Node, path string) bool {
	d.visits++
	if d.visits == maxVisits+1 {
		d.fail(positionOf(n), path, "the file has more than %d keys and values, including those that aliases repeat; shorten it", maxVisits)
	}
	return d.visits <= maxVisits && !d.full()
}

// value decodes a node.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	n = target(n)
	if !d.visit(n, path) {
		return
	}
	if isNull(n) && !isScalar(v.Type()) {
		return // a section whose lines are all comments
	}
	d.values[path] = &value{at: positionOf(n)}
	if r, ok := v.Addr().Interface().(nodeReader); ok {
		r.readNode(d, n, path)
		return
	}
	switch t := v.Type(); {
	case isScalar(t):
		d.scalar(n, v, path)
	case t.Kind() == reflect.Struct:
		d.structure(n, v, path)
	case t.Kind() == reflect.Slice:
		d.list(n, v, path)
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		d.mapping(n, v, path)
	default:
		d.fail(positionOf(n), path, "milterd cannot decode its own settings of the type %s; please report this bug", t)
	}
}

// target returns the node that an alias refers to.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// keyed is value for a node with a key.
func (d *decoder) keyed(key, n *yaml.Node, v reflect.Value, path string) {
	d.value(n, v, path)
	if d.given(path) {
		d.values[path].key = positionOf(key)
	}
}

// structure decodes a mapping into the fields of a struct. It does not change fields that are not given.
func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	fields := fieldsOf(v.Type())
	var keys []string
	for _, f := range fields {
		keys = append(keys, f.key)
	}
	remedy := "it has no keys; delete it"
	if len(keys) > 0 {
		remedy = "the keys are " + strings.Join(keys, ", ")
	}
	d.pairs(n, path, remedy, func(key, val *yaml.Node) {
		i := slices.Index(keys, key.Value)
		if i < 0 {
			d.unknown("key", key, path, keys)
			return
		}
		f, sub := fields[i], join(path, key.Value)
		fv := v.Field(f.index)
		before := fv.String()
		d.keyed(key, val, fv, sub)
		if now := fv.String(); len(f.one) > 0 && !d.rejected[sub] && !slices.Contains(f.one, now) {
			d.reject(target(val), sub, "unknown value %s%s", quote(now), suggest(now, f.one))
			fv.SetString(before)
		}
	})
}

// list decodes a list. A single value is a list of one entry.
func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	items, single := n.Content, false
	_, ownReader := reflect.New(v.Type().Elem()).Interface().(nodeReader)
	switch {
	case n.Kind == yaml.SequenceNode:
	case n.Kind == yaml.ScalarNode && (ownReader || isScalar(v.Type().Elem())), n.Kind == yaml.MappingNode && ownReader:
		items, single = []*yaml.Node{n}, true
	default:
		d.reject(n, path, `%s is not a list; write [a, b], or lines that begin with "- "`, describe(n))
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
			d.reject(item, sub, "the entry is empty; give it a value, or delete it")
			continue
		}
		d.value(item, list.Index(i), sub)
	}
	v.Set(list)
}

// mapping decodes a mapping with arbitrary keys.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	m := reflect.MakeMap(v.Type()) // a new one: other configurations share that of the defaults
	d.pairs(n, path, "write lines of the form key: value", func(key, val *yaml.Node) {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.keyed(key, val, elem, join(path, key.Value))
		m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), elem)
	})
	if v.SetZero(); m.Len() > 0 {
		v.Set(m)
	}
}

// pairs calls do for each key and value of a mapping. remedy is what to write instead of anything else.
func (d *decoder) pairs(n *yaml.Node, path, remedy string, do func(key, val *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.reject(n, path, "%s is not a section; %s", describe(n), remedy)
		return
	}
	for i := 0; i+1 < len(n.Content) && d.visit(n, path); i += 2 {
		key := target(n.Content[i])
		switch {
		case key.Kind != yaml.ScalarNode:
			d.fail(positionOf(key), path, "%s cannot be a key; write a name", describe(key))
		case key.Tag == "!!merge":
			d.fail(positionOf(key), path, `the merge key "<<" is not supported; write the keys themselves, or use an alias for a whole value`)
		default:
			do(key, n.Content[i+1])
		}
	}
}

// unknown reports a key that is none of the valid ones. kind is a noun for the key.
func (d *decoder) unknown(kind string, key *yaml.Node, path string, valid []string) {
	hint := suggest(key.Value, valid)
	if section := d.sections[key.Value]; section != "" && path != section {
		hint = "; write it below " + quote(section)
	} else if section := d.indentedBelow(key.Value, path); section != "" {
		hint = "; write it below " + quote(section) + ", indented"
	}
	d.fail(positionOf(key), path, "unknown %s %s%s", kind, quote(key.Value), hint)
}

// indentedBelow returns the section or the check below which a line with the key would be right if it were indented more than path is, or
// "" if there is none or several.
func (d *decoder) indentedBelow(key, path string) string {
	var sections, checksWith []string
	t := reflect.TypeFor[file]()
	for _, f := range fieldsOf(t) {
		if below := t.Field(f.index).Type; below.Kind() == reflect.Struct && hasKey(below, key) {
			sections = append(sections, f.key)
		}
	}
	for _, info := range d.registry {
		if hasKey(reflect.TypeOf(info.Default), key) {
			checksWith = append(checksWith, info.Name)
		}
	}
	switch {
	case path == "" && len(sections) == 1:
		return sections[0]
	case path == "" && len(sections) == 0 && len(checksWith) == 1:
		return "checks." + checksWith[0]
	case path == "checks" && len(checksWith) == 1:
		return checksWith[0]
	}
	return ""
}

// hasKey reports whether a struct has a key.
func hasKey(t reflect.Type, key string) bool {
	return slices.ContainsFunc(fieldsOf(t), func(f field) bool { return f.key == key })
}

// reject reports an error in the value at path, and that the value is left out.
func (d *decoder) reject(n *yaml.Node, path, format string, args ...any) {
	if !d.given(path) {
		d.values[path] = &value{at: positionOf(n)}
	}
	d.rejected[path] = true
	d.fail(positionOf(n), path, format, args...)
}

// failAt reports an error in the value at path.
func (d *decoder) failAt(path, format string, args ...any) {
	d.fail(d.where(path), path, format, args...)
}

// warnAt reports a warning about the value at path.
func (d *decoder) warnAt(path, format string, args ...any) {
	d.warn(d.where(path), path, format, args...)
}

// place returns a problem of the value at path, without a text.
func (d *decoder) place(path string) Problem {
	at := d.where(path)
	return Problem{File: d.file, Line: at.line, Col: at.col, Path: path}
}

// where returns the position of the value at path. If there is none, it returns that of the section that lacks it.
func (d *decoder) where(path string) position {
	for path != "" {
		if v := d.values[path]; v != nil {
			return v.at
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return beginning
}

// whereKey returns the position of the key of a value that the file has.
func (d *decoder) whereKey(path string) position { return d.values[path].key }

// given reports whether the file has a value at path, which may be rejected.
func (d *decoder) given(path string) bool { return d.values[path] != nil }

// rejectedIn reports whether the value at path, or a part of it, was rejected.
func (d *decoder) rejectedIn(path string) bool {
	for p := range d.rejected {
		if rest, ok := strings.CutPrefix(p, path); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// field is a key of a section.
type field struct {
	index             int // of the field in its struct
	key, doc, example string
	one               []string // permitted values; nil if any is
	reason            string   // id of the only reason for which a setting of a check is used, if that reason is off by default
}

// fieldsOf returns the keys of a struct, in the order of its fields. Fields without a yaml tag have none.
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
			reason: f.Tag.Get("reason"),
		})
	}
	return fields
}

// simpleKey matches keys that a path has without quotes.
var simpleKey = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// join returns the path of a key in the section at path.
func join(path, key string) string {
	switch {
	case !simpleKey.MatchString(key):
		return path + "[" + quote(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

// describe returns the value of a node for a message, or what it is.
func describe(n *yaml.Node) string {
	const maxNumber = 40 // characters
	switch {
	case n.Kind == yaml.MappingNode:
		return "a section"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "an empty value"
	case n.Tag == "!!int" || n.Tag == "!!float":
		return "the number " + escape(clip(n.Value, maxNumber))
	case n.Tag == "!!timestamp":
		return "the date " + escape(clip(n.Value, maxNumber))
	case n.Tag == "!!bool":
		return "the truth value " + escape(clip(n.Value, maxNumber))
	default:
		return quote(n.Value)
	}
}
