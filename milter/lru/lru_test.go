package lru

import (
	"fmt"
	"strings"
	"testing"
)

// newText returns a cache of 10 bytes, in which a value takes the length of its text.
func newText() *Cache[string, string] {
	return New(10, func(_, value string) int { return len(value) })
}

func TestCache(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		ops  string // "a=VALUE" sets, "a?" gets, "-a" deletes, "!" clears
		want string // the keys that are left, in order, and the size
	}{
		{"empty", "", "0"},
		{"below the limit", "a=1 b=22", "a b 3"},
		{"at the limit", "a=12345 b=12345", "a b 10"},
		{"the oldest goes", "a=12345 b=12345 c=1", "b c 6"},
		{"a value that was read stays", "a=12345 b=12345 a? c=1", "a c 6"},
		{"several go for a large one", "a=1 b=1 c=1 d=1234567890", "d 10"},
		{"larger than the cache", "a=1 b=12345678901", "a 1"},
		{"a key whose new value is larger than the cache", "a=1 b=1 b=12345678901", "a 1"},
		{"a smaller value for a key", "a=12345 a=1", "a 1"},
		{"a larger value for a key", "a=1 b=1 a=123456789", "a b 10"},
		{"a key that is set again is new", "a=12345 b=12345 a=12345 c=1", "a c 6"},
		{"deleted", "a=1 b=22 -a", "b 2"},
		{"deleted without a value", "a=1 -b", "a 1"},
		{"cleared", "a=1 b=1 ! c=333", "c 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newText()
			for _, op := range strings.Fields(test.ops) {
				key, value, set := strings.Cut(op, "=")
				switch {
				case set:
					c.Set(key, value)
				case op == "!":
					c.Clear()
				case strings.HasPrefix(op, "-"):
					c.Delete(op[1:])
				default:
					c.Get(strings.TrimSuffix(op, "?"))
				}
			}
			var left []string
			for _, key := range []string{"a", "b", "c", "d"} {
				if _, ok := c.Get(key); ok {
					left = append(left, key)
				}
			}
			if got := strings.Join(append(left, fmt.Sprint(c.Size())), " "); got != test.want || c.Len() != len(left) {
				t.Errorf("%s: %s, %d values; want %s", test.ops, got, c.Len(), test.want)
			}
		})
	}
}

func TestGetReturnsTheLastValue(t *testing.T) {
	t.Parallel()
	c := newText()
	c.Set("a", "old")
	c.Set("a", "new")
	if value, ok := c.Get("a"); value != "new" || !ok {
		t.Errorf("%q, %v", value, ok)
	}
	if value, ok := c.Get("b"); value != "" || ok {
		t.Errorf("a key without a value: %q, %v", value, ok)
	}
}
