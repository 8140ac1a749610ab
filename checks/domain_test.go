package checks_test

import (
	"strings"
	"testing"

	"milterd/checks"
)

func TestUnder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, domain string
		want         bool
	}{
		{"example.org", "example.org", true},
		{"Mail.Example.org.", "example.org", true},
		{"badexample.org", "example.org", false},
		{"org", "example.org", false},
		{"mail.example.org", "", false},
	} {
		if got := checks.Under(c.name, c.domain); got != c.want {
			t.Errorf("Under(%q, %q) = %v", c.name, c.domain, got)
		}
	}
}

// FuzzIsHostName looks for accepted names that need escaping in a zone file or on a page.
func FuzzIsHostName(f *testing.F) {
	f.Add("mail.example.com")
	f.Add("_spf.a-1.example.")
	f.Fuzz(func(t *testing.T, name string) {
		if checks.IsHostName(name) && strings.ContainsFunc(name, func(c rune) bool {
			return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
		}) {
			t.Errorf("%q is accepted", name)
		}
	})
}
