package config

import (
	"bytes"
	"encoding"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
)

// WriteReference writes the reference configuration: every key with its documentation and its default. It returns an error if
// a setting of a check has no doc tag, or a type that a file cannot have.
func WriteReference(w io.Writer, registry []checks.Info) error {
	r := &reference{registry: registry}
	r.comment(0, "Reference configuration of milterd, made by `milterd doc config`: every key with its default. All keys are"+
		" optional. Units of durations are s, m, h and d, as in 1h30m. `milterd check-config` finds mistakes.")
	r.section(0, reflect.ValueOf(defaults(registry)))
	if r.err != nil {
		return r.err
	}
	_, err := w.Write(r.text.Bytes())
	return err
}

// reference writes YAML with comments. It keeps the first fault of the structs that it documents.
type reference struct {
	registry []checks.Info
	text     bytes.Buffer
	err      error
}

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

// section writes the keys of a struct, at the top level with an empty line between them.
func (r *reference) section(indent int, v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		if f.doc == "" {
			r.fail("%s: the key %s has no doc tag", v.Type(), f.key)
		}
		if indent == 0 {
			r.text.WriteByte('\n')
		}
		r.comment(indent, f.doc)
		r.key(indent, f, v.Field(f.index))
	}
}

// key writes one key with its default, and its example if it has one.
func (r *reference) key(indent int, f field, v reflect.Value) {
	switch value := v.Interface().(type) {
	case reasonActions:
		r.line(indent, "%s:", f.key)
		r.actions(indent + 1)
		return
	case checkSettings:
		r.checks(indent, f.key, value)
		return
	}
	t := v.Type()
	switch {
	case t.Kind() == reflect.Struct && !isScalar(t):
		r.line(indent, "%s:", f.key)
		r.section(indent+1, v)
		return
	case isEntries(t):
		r.entries(indent, t.Elem())
	case f.example != "":
		r.line(indent, "# Example: %s: %s", f.key, f.example)
	}
	r.line(indent, "%s: %s", f.key, r.literal(v))
}

// isEntries reports whether a type is a list of sections.
func isEntries(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && !isScalar(t.Elem()) &&
		t.Elem() != reflect.TypeFor[listenEntry]()
}

// entries writes the keys of an entry of a list, and an example of an entry, as comments.
func (r *reference) entries(indent int, t reflect.Type) {
	r.line(indent, "# Keys of an entry:")
	for _, f := range fieldsOf(t) {
		if f.doc == "" {
			r.fail("%s: the key %s has no doc tag", t, f.key)
		}
		r.hanging(indent, "#  ", "- "+f.key+": "+f.doc)
	}
	r.line(indent, "# Example of an entry:")
	lead := "- "
	for _, f := range fieldsOf(t) {
		example := f.example
		if example == "" {
			example = r.literal(reflect.Zero(t.Field(f.index).Type))
		}
		r.line(indent, "#   %s%s: %s", lead, f.key, example)
		lead = "  "
	}
}

// actions writes the default actions of every reason as comments, because a key that is set does not follow the profile.
func (r *reference) actions(indent int) {
	const valueColumn, strictColumn = 32, 44
	for _, info := range r.registry {
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

// checks writes the settings of all checks that have settings.
func (r *reference) checks(indent int, key string, s checkSettings) {
	r.line(indent, "%s:", key)
	separator := ""
	for _, set := range s {
		if len(fieldsOf(set.value.Type())) == 0 {
			continue
		}
		r.text.WriteString(separator)
		separator = "\n"
		r.comment(indent+1, set.info.Doc)
		r.line(indent+1, "%s:", set.info.Name)
		r.section(indent+2, set.value)
	}
}

func (r *reference) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("config: "+format, args...)
	}
}

// literal returns the YAML of a value in one line.
func (r *reference) literal(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		if x < 0 || x%time.Second != 0 {
			r.fail("the default %s cannot be written as a duration", x)
		}
		return FormatDuration(x)
	case netip.Prefix:
		return text(x.String())
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		if err != nil {
			r.fail("default %v: %w", x, err)
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
			items = append(items, r.literal(v.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Map, reflect.Struct:
		return r.flow(v)
	default:
		r.fail("no file can hold a %s", v.Type())
		return ""
	}
}

// flow returns the YAML of a map or a struct in one line.
func (r *reference) flow(v reflect.Value) string {
	var pairs []string
	if v.Kind() == reflect.Map {
		for _, k := range v.MapKeys() {
			pairs = append(pairs, text(k.String())+": "+r.literal(v.MapIndex(k)))
		}
		slices.Sort(pairs)
	} else {
		for _, f := range fieldsOf(v.Type()) {
			pairs = append(pairs, f.key+": "+r.literal(v.Field(f.index)))
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
