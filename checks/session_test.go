package checks_test

import (
	"testing"

	"milterd/checks"
)

func TestSetHelo(t *testing.T) {
	t.Parallel()
	var s checks.Session
	steps := []struct {
		what, name string
		tls        bool
		previous   string
	}{
		{"first", "a.example", false, ""},
		{"the same again", "A.example.", false, ""},
		{"after STARTTLS everything begins anew", "b.example", true, ""},
		{"another", "c.example", false, "b.example"},
		{"going back does not wipe it out", "b.example", false, "c.example"},
	}
	for _, st := range steps {
		s.SetHelo(st.name, st.tls)
		if s.Helo != st.name || s.PreviousHelo != st.previous {
			t.Errorf("%s: got %q after %q", st.what, s.Helo, s.PreviousHelo)
		}
	}
}
