package main

import (
	"strings"
	"testing"
	"time"
)

// TestWhyInReplies tests that a block or a deny entry has no text that a reply cannot have. An allow entry has no reply.
func TestWhyInReplies(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	for why, fault := range map[string]string{
		"":                 "",
		"sends spam (42%)": "",
		"Müll":             `--why: 'ü' cannot be in a reply`,
		"a\r\n250 ok":      `--why: '\r' cannot be in a reply`,
		"a\x7f":            `--why: '\x7f' cannot be in a reply`,
	} {
		_, blocked := d.addBlock(t.Context(), blockArgs{Client: "192.0.2.9", For: time.Hour, Why: why})
		_, denied := d.addAccess(t.Context(), accessArgs{List: "deny", Entry: "192.0.2.9", Why: why})
		for _, err := range []error{blocked, denied} {
			if (err != nil) != (fault != "") || err != nil && !strings.HasPrefix(err.Error(), fault) {
				t.Errorf("%q: %v", why, err)
			}
		}
		if _, err := d.addAccess(t.Context(), accessArgs{List: "allow", Entry: "198.51.100.9", Why: why}); err != nil {
			t.Errorf("allow, %q: %v", why, err)
		}
	}
}
