package config

import (
	"bytes"
	"encoding"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
)

// Key is a key of the configuration, for the reference and the manual.
type Key struct {
	Path    string // such as checks.greylist.delay; of a key in Entries, its name
	Doc     string
	Values  []string // that it may have; nil: others too
	Default string   // in YAML; empty: the key has others below it
	Entries []Key    // keys of an entry, if the value is a list of sections
	Example string   // in YAML, with the name of the key; empty: none
}

// Keys returns the keys of the configuration, each after the section that it is in. It returns an error if a setting of a check has
// no doc tag, or a type that a file cannot have.
func Keys(registry []checks.Info) ([]Key, error) {
	var list keyList
	list.section("", reflect.ValueOf(defaults(registry)))
	return list.keys, list.err
}

// keyList collects keys. It keeps the first fault of the structs that it documents.
type keyList struct {
	keys []Key
	err  error
}

// section adds the keys of a struct.
func (l *keyList) section(path string, v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		if f.doc == "" {
			l.fail("%s: the key %s has no doc tag", v.Type(), f.key)
		}
		l.add(join(path, f.key), f, v.Field(f.index))
	}
}

// add adds a key, and those below it.
func (l *keyList) add(path string, f field, v reflect.Value) {
	k := Key{Path: path, Doc: f.doc, Values: f.one}
	t := v.Type()
	switch value, isChecks := v.Interface().(checkSettings); {
	case isChecks:
		l.keys = append(l.keys, k)
		for _, set := range value {
			if len(fieldsOf(set.value.Type())) > 0 {
				below := join(path, set.info.Name)
				l.keys = append(l.keys, Key{Path: below, Doc: set.info.Doc})
				l.section(below, set.value)
			}
		}
		return
	case t == reflect.TypeFor[reasonActions]():
		l.keys = append(l.keys, k) // the reasons are in the registry
		return
	case t.Kind() == reflect.Struct && !isScalar(t):
		l.keys = append(l.keys, k)
		l.section(path, v)
		return
	case isEntries(t):
		k.Entries, k.Example = l.entries(f.key, t.Elem())
	case f.example != "":
		k.Example = f.key + ": " + f.example
	}
	k.Default = l.literal(v)
	l.keys = append(l.keys, k)
}

// entries returns the keys of an entry of a list, and an example of a list with one entry.
func (l *keyList) entries(key string, t reflect.Type) (keys []Key, example string) {
	example = key + ":"
	lead := "- "
	for _, f := range fieldsOf(t) {
		if f.doc == "" {
			l.fail("%s: the key %s has no doc tag", t, f.key)
		}
		keys = append(keys, Key{Path: f.key, Doc: f.doc})
		value := f.example
		if value == "" {
			value = l.literal(reflect.Zero(t.Field(f.index).Type))
		}
		example += "\n  " + lead + f.key + ": " + value
		lead = "  "
	}
	return keys, example
}

// isEntries reports whether a type is a list of sections.
func isEntries(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && !isScalar(t.Elem()) &&
		t.Elem() != reflect.TypeFor[listenEntry]()
}

func (l *keyList) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf("config: "+format, args...)
	}
}

// literal returns the YAML of a value in one line.
func (l *keyList) literal(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		if x < 0 || x%time.Second != 0 {
			l.fail("the default %s cannot be written as a duration", x)
		}
		return checks.FormatDuration(x)
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		if err != nil {
			l.fail("default %v: %w", x, err)
		}
		return text(string(b))
	case []listenEntry:
		if len(x) == 1 {
			return text(x[0].Socket)
		}
	case listenEntry:
		return text(x.Socket)
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.String:
		return text(v.String())
	case reflect.Int, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, l.literal(v.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Map, reflect.Struct:
		return l.flow(v)
	default:
		l.fail("no file can hold a %s", v.Type())
		return ""
	}
}

// flow returns the YAML of a map or a struct in one line.
func (l *keyList) flow(v reflect.Value) string {
	var pairs []string
	if v.Kind() == reflect.Map {
		for _, k := range v.MapKeys() {
			pairs = append(pairs, text(k.String())+": "+l.literal(v.MapIndex(k)))
		}
		slices.Sort(pairs)
	} else {
		for _, f := range fieldsOf(v.Type()) {
			pairs = append(pairs, f.key+": "+l.literal(v.Field(f.index)))
		}
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}

// plainText matches texts that need no quotes, unless notText matches.
var plainText = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9/_.@-]*(:[A-Za-z0-9/_.@-]+)*$|^[0-9]+(\.[0-9]+){3}(/[0-9]+)?$`)

// notText matches words that YAML 1.1 or 1.2 does not read as text.
var notText = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|y|n|null)$`)

// text returns the YAML of a text.
func text(s string) string {
	if plainText.MatchString(s) && !notText.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}

// WriteReference writes the reference configuration: every key with its documentation and its default. It returns the error of Keys.
func WriteReference(w io.Writer, registry []checks.Info) error {
	keys, err := Keys(registry)
	if err != nil {
		return err
	}
	r := &reference{}
	r.comment(0, "Reference configuration of milterd, made by `milterd doc config`: every key with its default. All keys are"+
		" optional. Units of durations are s, m, h and d, as in 1h30m. `milterd check-config` finds mistakes.")
	for i, k := range keys {
		depth, dot := strings.Count(k.Path, "."), strings.LastIndexByte(k.Path, '.')
		isCheck := depth == 1 && k.Path[:dot] == "checks"
		if depth == 0 || isCheck && keys[i-1].Path != "checks" {
			r.text.WriteByte('\n')
		}
		r.key(depth, k.Path[dot+1:], k)
		if k.Path == "actions" {
			r.actions(registry)
		}
	}
	_, err = w.Write(r.text.Bytes())
	return err
}

// reference writes YAML with comments.
type reference struct{ text bytes.Buffer }

func (r *reference) line(indent int, format string, args ...any) {
	r.text.WriteString(strings.Repeat("  ", indent))
	fmt.Fprintf(&r.text, format, args...)
	r.text.WriteByte('\n')
}

// comment writes text as a comment of several lines.
func (r *reference) comment(indent int, text string) { r.hanging(indent, "#", text) }

// hanging writes text as a comment of several lines. All but the first begin with lead.
func (r *reference) hanging(indent int, lead, text string) {
	const width = 100
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if 2*indent+len(line)+1+len(word) > width && line != lead {
			r.line(indent, "%s", line)
			line = lead
		}
		line += " " + word
	}
	if line != lead {
		r.line(indent, "%s", line)
	}
}

// key writes a key with its default, and what an entry of it has, or an example.
func (r *reference) key(indent int, name string, k Key) {
	r.comment(indent, k.Doc)
	if len(k.Entries) > 0 {
		r.line(indent, "# Keys of an entry:")
		for _, e := range k.Entries {
			r.hanging(indent, "#  ", "- "+e.Path+": "+e.Doc)
		}
		r.line(indent, "# Example of an entry:")
		_, entry, _ := strings.Cut(k.Example, "\n")
		for line := range strings.SplitSeq(entry, "\n") {
			r.line(indent, "# %s", line)
		}
	} else if k.Example != "" {
		r.line(indent, "# Example: %s", k.Example)
	}
	r.line(indent, "%s", strings.TrimRight(name+": "+k.Default, " "))
}

// actions writes the default actions of every reason as comments, because a key that is set does not follow the profile.
func (r *reference) actions(registry []checks.Info) {
	const indent, valueColumn, strictColumn = 1, 32, 44
	for _, info := range registry {
		if len(info.Reasons) > 0 {
			r.line(indent, "# %s", info.Name)
		}
		for _, reason := range info.Reasons {
			line := fmt.Sprintf("%-*s", strictColumn-2*indent,
				fmt.Sprintf("#%-*s %s", valueColumn-2*indent, reason.ID+":", reason.Safe))
			r.line(indent, "%s # strict: %s", line, reason.Strict)
		}
	}
}
