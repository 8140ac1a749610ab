package config

import (
	"encoding"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"milterd/checks"
)

// isScalar reports whether a value of type t is written as one text, number or truth value.
func isScalar(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		return true
	default:
		return false
	}
}

// scalar decodes a value for whose type isScalar is true. It rejects the value if it cannot.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	if err := setScalar(n, v); err != nil {
		text := err.Error()
		if shown := describe(n); !strings.Contains(text, shown) && !strings.Contains(text, quote(n.Value)) {
			text = shown + ": " + text // an error of a type of a check
		}
		d.reject(n, path, "%s", text)
		return
	}
	if k := v.Kind(); k == reflect.Int || k == reflect.Int64 {
		d.values[path].number = n.Value
	}
}

// setScalar sets v to the value of a node. The error describes the value and the remedy.
func setScalar(n *yaml.Node, v reflect.Value) error {
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		return setParsed(n, p, ParseDuration, "a duration; write it as 30s, 1h30m or 14d")
	case *netip.Prefix:
		return setParsed(n, p, checks.ParseNetwork, "an address or a network; write it as 192.0.2.1 or 192.0.2.0/24")
	case *netip.Addr:
		return setParsed(n, p, parseAddr, "an address; write it as 192.0.2.1")
	case encoding.TextUnmarshaler:
		if !isText(n) {
			return errors.New(describe(n) + " is not a text; write a single value")
		}
		return p.UnmarshalText([]byte(n.Value))
	}
	switch v.Kind() {
	case reflect.Bool:
		b, ok := truth(n)
		if !ok {
			return errors.New(describe(n) + " is neither true nor false; write one of them")
		}
		v.SetBool(b)
	case reflect.String:
		switch {
		case !isText(n):
			return errors.New(describe(n) + " is not a text; write a single value")
		case strings.HasPrefix(n.Tag, "!!") && n.Tag != "!!str": // other tags were reported before
			return errors.New(describe(n) + " is not a text; put it in quotes")
		}
		v.SetString(n.Value)
	default:
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		// YAML 1.1 reads a leading zero as octal, YAML 1.2 does not.
		if err != nil || n.Tag != "!!int" || len(n.Value) > 1 && n.Value[0] == '0' {
			return errors.New(describe(n) + " is not a whole number; write digits alone, such as 10")
		}
		v.SetInt(i)
	}
	return nil
}

// setParsed sets *p to what parse returns for the value of a node. noun names the type and says how to write it.
func setParsed[T any](n *yaml.Node, p *T, parse func(string) (T, error), noun string) error {
	if !isText(n) {
		return fmt.Errorf("%s is not %s", describe(n), noun)
	}
	v, err := parse(n.Value)
	if err != nil {
		return err
	}
	*p = v
	return nil
}

// isText reports whether a node is a single value that is not empty.
func isText(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && !isNull(n) }

// truth returns a truth value of YAML 1.1 or 1.2.
func truth(n *yaml.Node) (value, ok bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" && n.Tag != "!!str" {
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	return false, false
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s is not an address; write it as 192.0.2.1", quote(s))
	}
	return a.Unmap(), nil
}
