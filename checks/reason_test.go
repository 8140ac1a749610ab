package checks_test

import (
	"strings"
	"testing"

	"milterd/checks"
)

// TestAllows shows which actions a reason may have.
func TestAllows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		reason checks.Reason
		want   string
	}{
		{"any", checks.Reason{}, "off watch tag greylist quarantine tempfail reject"},
		{"watched at most", checks.Reason{Most: checks.Watch}, "off watch"},
		{"a deferral", checks.Reason{Deferral: true}, "off watch greylist tempfail reject"},
	} {
		var got []string
		for _, name := range checks.ActionNames() {
			a, err := checks.ParseAction(name)
			if err != nil {
				t.Fatal(err)
			}
			if c.reason.Allows(a) {
				got = append(got, name)
			}
		}
		want(t, c.name, strings.Join(got, " "), c.want)
	}
}
