package config

import (
	"strings"
	"testing"
)

// TestSyntaxFaults checks the position and our words for the errors of the YAML library.
func TestSyntaxFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"hostname: a: b", `1:12: not valid YAML: "hostname: a: b" has a colon in the wrong place`},
		{"hostname: x\n  profile: safe\n", `2:10: not valid YAML: "profile: safe" has a colon in the wrong place`},
		{"hostname x\nprofile: safe\n", `2:8: not valid YAML: "profile: safe" has a colon in the wrong place`},
		{"profile: safe\nhostname\nbudget: 8s\n", `3:1: not valid YAML: "hostname" in line 2 has no colon after the key`},
		{"listen:\n  - unix:/a\n  - unix:/b\n  hostname: x\n", `4:3: not valid YAML: "hostname: x" does not continue the list from line 2 on`},
		{"dns:\n  timeout: 2s\n servers: []\n", `3:2: not valid YAML: "servers: []" does not continue the keys from line 1 on`},
		{"hostname: 'it's'\n", `1:15: not valid YAML: "hostname: 'it's'" does not continue the keys`},
		{"listen: - unix:/a\n", `1:9: not valid YAML: "listen: - unix:/a" has a list in the wrong place`},
		{"hostname: ? b\n", `1:11: not valid YAML: "hostname: ? b" has a value that begins with "? "`},
		{"listen: [a\nhostname: x\n", `2:9: not valid YAML: the list "listen: [a" in line 1 is not closed`},
		{"listen: [a, b\n", `2:1: not valid YAML: the list "listen: [a, b" in line 1 is not closed`},
		{"dns: {timeout: 2s\nhostname: x\n", `2:9: not valid YAML: the section "dns: {timeout: 2s" in line 1 is not closed`},
		{"listen: ]\n", `1:9: not valid YAML: there is "]" where a value should be`},
		{"listen: {\n", `2:1: not valid YAML: there is the end of the file where a value should be`},
		{"trusted:\n\tauthenticated: true\n", `2:1: not valid YAML: a tab cannot indent YAML; use spaces`},
		{"trusted:\n  authenticated: true\n\tdaemons: []\n", `3:1: not valid YAML: a tab cannot indent YAML; use spaces`},
		{"local_domains: *.example.org\n", `1:16: not valid YAML: "local_domains: *.example.org" refers to an anchor that is not defined`},
		{"local_domains: [* x]\n", `1:18: not valid YAML: "local_domains: [* x]" has "&" or "*" without a name`},
		{"exempt_recipients: @example.org\n", `1:20: not valid YAML: "exempt_recipients: @example.org" has a value that begins with "@"`},
		{"listen: [a]#b\n", `1:12: not valid YAML: "listen: [a]#b" has "#" without a space before it`},
		{"hostname: \"a\n", `2:1: not valid YAML: the quotes of "hostname: \"a" in line 1 are not closed`},
		{"hostname: \"a\n---\n", `2:1: not valid YAML: the quotes of "hostname: \"a" in line 1 are not closed`},
		{`hostname: "a\qb"`, `1:13: not valid YAML: "hostname: \"a\\qb\"" has an unknown escape sequence`},
		{`hostname: "\xzz"`, `1:14: not valid YAML: "hostname: \"\\xzz\"" has an escape sequence without its digits`},
		{`hostname: "\uD800"`, `1:`},
		{"hostname: |x\n b\n", `1:12: not valid YAML: "hostname: |x" has text after "|" or ">"`},
		{"hostname: !<x\n", `1:14: not valid YAML: "hostname: !<x" has a YAML tag`},
		{"%hostname\n", `1:10: not valid YAML: "%hostname" begins with "%"`},
		{"%YAML 3.0\n---\nhostname: x\n", `1:1: not valid YAML: "%YAML 3.0" demands another version of YAML`},
		{"  hostname: a\nprofile: safe\n", `2:1: not valid YAML: "profile: safe" does not continue what is before it`},
		{"hostname: x\n... y\n", `2:5: not valid YAML: "... y" does not continue what is before it`},
		{"hostname: " + strings.Repeat("[", 20_000), `1:`},

		// Secrets do not go into messages.
		{"admin: {password: \"secret\n", `2:1: not valid YAML: the quotes of "admin: ..." in line 1 are not closed`},
		{"store: {url: redis://u:secret@h\n", `2:1: not valid YAML: the section "store: ..." in line 1 is not closed`},
	} {
		cfg, problems := Parse("p", []byte(tt.text), registry())
		if cfg != nil || len(problems) != 1 {
			t.Errorf("%.40q: %d problems: %v", tt.text, len(problems), problems)
			continue
		}
		got := problems[0].Error()
		if !strings.HasPrefix(got, "p:"+tt.want) || !strings.Contains(got, "; ") || strings.Contains(got, "secret") {
			t.Errorf("%.40q:\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
}
