package config

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"

	"milterd/checks"
)

// settings are the checked settings of one check.
type settings struct {
	info  checks.Info
	value reflect.Value // a struct of the type of info.Default, that can be set
}

// checkSettings is the section "checks": the settings of every registered check by its name.
type checkSettings struct{ list []settings }

// newCheckSettings makes copies of the defaults.
func newCheckSettings(registry []checks.Info) checkSettings {
	var s checkSettings
	for _, info := range registry {
		def := reflect.ValueOf(info.Default)
		if def.Kind() != reflect.Struct {
			def = reflect.ValueOf(checks.NoSettings{})
		}
		v := reflect.New(def.Type()).Elem()
		v.Set(def)
		s.list = append(s.list, settings{info, v})
	}
	return s
}

// readNode implements nodeReader.
func (s *checkSettings) readNode(d *decoder, n *yaml.Node, path string) {
	fields := make([]field, len(s.list))
	for i, set := range s.list {
		fields[i] = field{key: set.info.Name}
	}
	d.pairs(n, path, func(key, val *yaml.Node) {
		for _, set := range s.list {
			if set.info.Name == key.Value {
				set.read(d, val, join(path, key.Value))
				return
			}
		}
		d.unknownKey("check", key, path, fields)
	})
}

// read decodes the settings of one check and lets them check themselves.
func (s settings) read(d *decoder, n *yaml.Node, path string) {
	d.value(n, s.value, path)
	v, ok := s.sound(d, path).Interface().(interface{ Validate() error })
	if !ok || !d.given(path) {
		return
	}
	if err := v.Validate(); err != nil {
		for fault := range strings.SplitSeq(err.Error(), "\n") {
			d.fail(d.where(path), path, "%s", fault)
		}
	}
}

// sound is a copy of the settings with the default for each key in which something could not be read: what follows from that
// is no fault of its own.
func (s settings) sound(d *decoder, path string) reflect.Value {
	out := reflect.New(s.value.Type())
	out.Elem().Set(s.value)
	for _, f := range fieldsOf(s.value.Type()) {
		if d.brokenIn(join(path, f.key)) {
			out.Elem().Field(f.index).Set(reflect.ValueOf(s.info.Default).Field(f.index))
		}
	}
	return out
}

// settingsFiles looks at the files that settings name: they begin at the folder of the configuration, and what is wrong in
// them is a warning, as what is right holds; that one cannot be read is an error.
func (c *compiler) settingsFiles() {
	for _, s := range c.file.Checks.list {
		path := "checks." + s.info.Name
		v := s.value.Addr().Interface()
		if r, ok := v.(interface{ RelativeTo(folder string) }); ok {
			r.RelativeTo(c.dir)
		}
		f, ok := v.(interface{ Faults() []error })
		if !ok || c.broken[path] {
			continue
		}
		for _, err := range f.Faults() {
			if c.full() {
				return
			}
			if line, ok := err.(interface{ Line() (string, int, error) }); ok {
				file, n, fault := line.Line()
				c.add(Problem{File: file, Line: n, Col: 1, Text: fault.Error() + "; the line is left out", Warning: true})
				continue
			}
			c.fail(c.where(path), path, "%s", err)
		}
	}
}

// Build makes the checks ready, in the order of the registry.
func (c *Config) Build(env checks.Env) ([]checks.Instance, error) {
	var out []checks.Instance
	for _, s := range c.checks {
		check, err := s.info.New(s.copyTo, env)
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", s.info.Name, err)
		}
		out = append(out, checks.Instance{Info: s.info, Check: check})
	}
	return out, nil
}

// copyTo is what an Info calls to get the settings of its check.
func (s settings) copyTo(dst any) error {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.Elem().Type() != s.value.Type() {
		return fmt.Errorf("settings are of type %s, not %T", s.value.Type(), dst)
	}
	v.Elem().Set(s.value)
	return nil
}
