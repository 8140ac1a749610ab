package checks_test

import (
	"testing"

	"milterd/checks"
)

func TestNameSet(t *testing.T) {
	t.Parallel()
	var s checks.NameSet
	if s.Has("example.net") {
		t.Error("the zero value is not empty")
	}
	for _, entry := range []string{"example.net", ".Example.com", "x.example.org.", "my_host.example.org"} {
		if err := s.Add(entry); err != nil {
			t.Error(err)
		}
	}
	for _, entry := range []string{"", ".", "a@b", "exa mple", "..example.net", "192.0.2.0/24"} {
		if err := s.Add(entry); err == nil {
			t.Errorf("%q was accepted", entry)
		}
	}
	for name, want := range map[string]bool{
		"example.net": true, "a.example.net": false, "example.com": true, "a.b.example.com": true, "badexample.com": false,
		"x.example.org": true, "example.org": false, "my_host.example.org": true, "": false,
	} {
		if s.Has(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}
