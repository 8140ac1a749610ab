package checks_test

import (
	"testing"

	"milterd/checks"
)

func TestMacros(t *testing.T) {
	t.Parallel()
	var m checks.Macros
	m.Delete("i")
	m.Set("i", "A")
	m.Set("{auth_type}", "PLAIN")
	m.Set("i", "B")
	if m.Get("i") != "B" || m.Get("{auth_type}") != "PLAIN" || m.Get("j") != "" || len(m) != 2 {
		t.Errorf("got %v", m)
	}
	m.Delete("i")
	if m.Get("i") != "" || m.Get("{auth_type}") != "PLAIN" {
		t.Errorf("without i: %v", m)
	}
}
