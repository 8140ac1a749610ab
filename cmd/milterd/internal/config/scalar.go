package config

import (
	"encoding"
	"errors"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"milterd/checks"
)

// isScalar tells whether values of a type are written as one word or text.
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

// scalar decodes a value of a type for which isScalar is true. It reports why it cannot and returns false.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) bool {
	if err := setScalar(n, v); err != nil {
		text := err.Error()
		if n.Kind != yaml.ScalarNode || isNull(n) || !strings.HasPrefix(text, strconv.Quote(n.Value)) {
			text += ", got " + describe(n)
		}
		d.fail(spotOf(n), path, "%s", text)
		d.broken[path] = true
		return false
	}
	return true
}

// setScalar sets v. The error says what is wanted, or quotes the value and says what is wrong with it.
func setScalar(n *yaml.Node, v reflect.Value) error {
	text, plain := n.Value, n.Kind == yaml.ScalarNode && !isNull(n)
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		return setParsed(p, text, plain, ParseDuration, "a duration such as 30s, 1h30m or 14d")
	case *netip.Prefix:
		return setParsed(p, text, plain, checks.ParseNetwork, "an address or a network such as 192.0.2.0/24")
	case *netip.Addr:
		return setParsed(p, text, plain, parseAddr, "an address such as 192.0.2.1")
	case encoding.TextUnmarshaler:
		if !plain {
			return errors.New("want a text")
		}
		return p.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.Bool:
		b, ok := truth(n)
		if !ok {
			return errors.New("want true or false")
		}
		v.SetBool(b)
	case reflect.String:
		switch {
		case plain && n.Tag != "!!str":
			return errors.New("want a text, in quotes if it looks like something else")
		case !plain:
			return errors.New("want a text")
		}
		v.SetString(text)
	default:
		i, err := strconv.ParseInt(text, 10, v.Type().Bits())
		// YAML 1.1 reads a leading zero as octal, YAML 1.2 does not.
		if err != nil || n.Tag != "!!int" || len(text) > 1 && text[0] == '0' {
			return errors.New("want a whole number")
		}
		v.SetInt(i)
	}
	return nil
}

func setParsed[T any](p *T, text string, plain bool, parse func(string) (T, error), want string) error {
	if !plain {
		return errors.New("want " + want)
	}
	v, err := parse(text)
	if err != nil {
		return err
	}
	*p = v
	return nil
}

// truth reads a boolean, those of YAML 1.1 too.
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
		return netip.Addr{}, errors.New("want an address such as 192.0.2.1")
	}
	return a.Unmap(), nil
}
