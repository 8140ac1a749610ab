package dmarc_test

import (
	"strings"
	"testing"

	"milterd/checks/dmarc"
)

// TestSettings tests that entries which are neither networks nor domains are faults.
func TestSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		settings dmarc.Settings
		faults   int
	}{
		{dmarc.Settings{Trusted: []string{"192.0.2.1", "2001:db8::/32", "lists.example.net", ".lists.example.net", "Example.NET."}, Ignore: []string{"bank.example"}}, 0},
		{dmarc.Settings{Trusted: []string{"192.0.2.1/24", "lists_.example!net", "a b"}, Ignore: []string{"@bank.example", ""}}, 5},
	} {
		err := c.settings.Validate()
		got := 0
		if err != nil {
			got = strings.Count(err.Error(), "\n") + 1
		}
		if got != c.faults {
			t.Errorf("%+v: %v", c.settings, err)
		}
	}
}
