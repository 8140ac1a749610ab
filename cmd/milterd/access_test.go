package main

import (
	"strings"
	"testing"

	"milterd/cmd/milterd/internal/config"
)

// TestLocalDomainsCannotBeDenied tests that no entry of a deny list covers a domain of the site.
func TestLocalDomainsCannotBeDenied(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, func(c *config.Config) { c.LocalDomains = []string{"example.org"} })
	for entry, local := range map[string]bool{
		"example.org": true, ".example.org": true, ".org": true, "@example.org": true, "@.example.org": true, "@.org": true, "bob@example.org": true,
		"mail.example.org": true, "@mail.example.org": true,
		"org": false, ".com": false, "@org": false, "@.com": false, "bob@": false, "@example.net": false, "example.org.example.net": false,
	} {
		_, err := d.addAccess(t.Context(), accessArgs{List: "deny", Entry: entry})
		if (err != nil) != local || local && !strings.HasPrefix(err.Error(), entry+" is local (") {
			t.Errorf("%s: %v", entry, err)
		}
	}
}
