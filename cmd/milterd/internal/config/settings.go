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

// settings are the settings of one check.
type settings struct {
	info  checks.Info
	value reflect.Value // settable, of the type of info.Default
}

// checkSettings is the section "checks": the settings of every check of the registry, by its name.
type checkSettings []settings

// newCheckSettings returns copies of the defaults.
func newCheckSettings(registry []checks.Info) checkSettings {
	var s checkSettings
	for _, info := range registry {
		def := reflect.ValueOf(info.Default)
		if def.Kind() != reflect.Struct {
			def = reflect.ValueOf(checks.NoSettings{})
		}
		v := reflect.New(def.Type()).Elem()
		v.Set(def)
		s = append(s, settings{info: info, value: v})
	}
	return s
}

// readNode implements nodeReader.
func (s *checkSettings) readNode(d *decoder, n *yaml.Node, path string) {
	var names []string
	for _, set := range *s {
		names = append(names, set.info.Name)
	}
	d.pairs(n, path, "write lines of the form CHECK: {KEY: VALUE}", func(key, val *yaml.Node) {
		if i := slices.Index(names, key.Value); i >= 0 {
			(*s)[i].read(d, val, join(path, key.Value))
		} else {
			d.unknown("check", key, path, names)
		}
	})
}

// read decodes the settings of one check and validates them.
func (s settings) read(d *decoder, n *yaml.Node, path string) {
	if n := target(n); n.Kind == yaml.ScalarNode && word(n.Value).isOff() {
		d.reject(n, path, "%s", s.noSwitch())
		return
	}
	d.value(n, s.value, path)
	v, ok := s.value.Interface().(interface{ Validate() error })
	if !ok || !d.given(path) {
		return
	}
	if err := v.Validate(); err != nil {
		for fault := range strings.SplitSeq(err.Error(), "\n") {
			d.invalid(path, fault)
		}
	}
}

// noSwitch says what to write in place of a check that is off.
func (s settings) noSwitch() string {
	if len(s.info.Reasons) == 0 {
		return "this check has no reasons and refuses nothing; delete the line"
	}
	ids := make([]string, len(s.info.Reasons))
	for i, r := range s.info.Reasons {
		ids[i] = r.ID + ": off"
	}
	return fmt.Sprintf("a check has no switch, its reasons have; write actions: {%s}", strings.Join(ids, ", "))
}

// leadingKey matches the key with which a fault of Validate begins, as in "zones[0]: codes: ..." or "delay must be ...".
var leadingKey = regexp.MustCompile(`^([a-z_]+(?:\[\d+\])?)(: | )`)

// invalid reports a fault that Validate found in the settings at path, at the value of the key that the fault names. It reports none
// of a value that was rejected in part, because that may be the cause.
func (d *decoder) invalid(path, fault string) {
	check := path
	for {
		m := leadingKey.FindStringSubmatch(fault)
		if m == nil {
			break
		}
		key := m[1]
		if !d.given(path + "." + key) {
			key, _, _ = strings.Cut(key, "[") // a single value stands for the list
		}
		if !d.given(path + "." + key) {
			break
		}
		path += "." + key
		if m[2] == " " {
			break
		}
		fault = strings.TrimPrefix(fault, m[0])
	}
	if path != check && d.rejectedIn(path) {
		return
	}
	if v := d.values[path]; v != nil && v.number != "" && !strings.Contains(fault, v.number) {
		fault = v.number + ": " + fault
	}
	d.failAt(path, "%s", fault)
}

// settingsFiles checks the files that settings name. Relative names begin at the folder of the configuration. A fault in a
// line is a warning, because the other lines apply; a file that cannot be read is an error.
func (c *compiler) settingsFiles() {
	for _, s := range c.file.Checks {
		path := "checks." + s.info.Name
		v := s.value.Addr().Interface()
		if r, ok := v.(interface{ RelativeTo(folder string) }); ok {
			r.RelativeTo(c.dir)
		}
		f, ok := v.(interface{ Faults() []error })
		if !ok || c.rejected[path] {
			continue
		}
		for _, err := range f.Faults() {
			if c.full() {
				return
			}
			if line, ok := err.(interface{ Line() (string, int, error) }); ok {
				file, n, fault := line.Line()
				c.add(Problem{File: file, Line: n, Col: 1, Text: fault.Error() + "; the line is ignored", Warning: true})
				continue
			}
			c.invalid(path, err.Error())
		}
	}
}

// unusedSettings warns of changed settings that have no effect, because the reason that they are for, or all reasons of the check, are
// off for everybody.
func (c *compiler) unusedSettings(o checks.Options) {
	on := func(id string) bool {
		return o.Actions[id] != checks.Off || slices.ContainsFunc(o.Policies, func(p checks.Policy) bool { return p.Actions[id] != checks.Off })
	}
	for _, s := range c.file.Checks {
		path, def := "checks."+s.info.Name, reflect.ValueOf(s.info.Default)
		reasons, changed := s.info.Reasons, !reflect.DeepEqual(s.value.Interface(), s.info.Default)
		if changed && len(reasons) > 0 && !slices.ContainsFunc(reasons, func(r *checks.Reason) bool { return on(r.ID) }) {
			c.warnAt(path, "all reasons of this check are off, so it refuses nothing; if it should, write actions: {%s: tempfail}", reasons[0].ID)
			continue
		}
		for _, f := range fieldsOf(s.value.Type()) {
			if f.reason != "" && !on(f.reason) && !reflect.DeepEqual(s.value.Field(f.index).Interface(), def.Field(f.index).Interface()) {
				c.warnAt(join(path, f.key), "the reason %[1]s is off, and the setting has no effect; write actions: {%[1]s: watch}, or delete the line", f.reason)
			}
		}
	}
}

// Build returns the checks, in the order of the registry.
func (c *Config) Build(env checks.Env) ([]checks.Instance, error) {
	var out []checks.Instance
	for _, s := range c.settings {
		check, err := s.info.New(s.copyTo, env)
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", s.info.Name, err)
		}
		out = append(out, checks.Instance{Info: s.info, Check: check})
	}
	return out, nil
}

// Settings returns the settings of a check, of the type of its checks.Info.Default, or nil if there is no such check.
func (c *Config) Settings(check string) any {
	for _, s := range c.settings {
		if s.info.Name == check {
			return s.value.Interface()
		}
	}
	return nil
}

// copyTo copies the settings to the variable to which dst points. checks.Info.New calls it.
func (s settings) copyTo(dst any) error {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.Elem().Type() != s.value.Type() {
		return fmt.Errorf("settings are of type %s, not %T", s.value.Type(), dst)
	}
	v.Elem().Set(s.value)
	return nil
}
