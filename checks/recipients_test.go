package checks_test

import (
	"strings"
	"testing"

	"milterd/checks"
)

func TestRecipientPatterns(t *testing.T) {
	t.Parallel()
	for bad, want := range map[string]string{
		"": "not a recipient", "@": "not a recipient", "a b": "not a recipient", "user@": "not a recipient", "a@b@example.org": "not a recipient",
		"<a@example.org>": "not a recipient", `"a@example.org`: "not a recipient", `"a"b@example.org`: "not a recipient",
		"@example.net:bob@example.org": "not a recipient", `"a@b"`: "not a recipient",

		"*@example.org": "wildcards are not", "post*": "wildcards are not", "*": "wildcards are not", "a@*.example.org": "wildcards are not",
		".example.org": "each subdomain", "@.example.org": "each subdomain", "bob@.example.org": "each subdomain",
		"example.org": "\"@example.org\"?", "Mail.Example.CO.UK": "\"@Mail.Example.CO.UK\"?", "bücher.de": "\"@bücher.de\"?",
	} {
		if _, err := checks.ParseRecipients([]string{bad}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", bad, err, want)
		}
	}
}

func TestRecipients(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, matches, not string // recipients, with spaces between
	}{
		{"abuse", "abuse ABUSE@example.org abuse+x@example.net Abuse+y+z@example.org", "abuser@example.org x+abuse@example.org"},
		{"bob@example.org", "bob@example.org BOB@Example.ORG bob+tag@example.org Bob+@example.org \"bob\"@example.org", "bob@example.net bob-tag@example.org bob bobby@example.org"},
		{"bob+tag@example.org", "bob+tag@example.org Bob+Tag@example.org bob+tag@example.org.", "bob@example.org bob+other@example.org bob+tag+more@example.org"},
		{"+@example.org", "+@example.org", "+x@example.org @example.org"},
		{"@example.org", "bob@example.org bob+tag@example.org", "bob@sub.example.org"},
		{`"a@b"@example.org`, `"a@b"@example.org "A@b"@example.org "a@b+tag"@example.org`, "a@b.example.org"},
		{`"bob"@bücher.example`, "bob@bücher.example", `"bob"@example.org`},
		{"john.doe", "john.doe@example.org", "john@example.org"},
		{"bob@bücher.example", "bob@xn--bcher-kva.example bob+x@bücher.example", "bob@buecher.example"},
	} {
		set, err := checks.ParseRecipients([]string{test.pattern})
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		for list, want := range map[string]bool{test.matches: true, test.not: false} {
			for _, rcpt := range strings.Fields(list) {
				if got := set.Contains(checks.ParseAddress(rcpt)); got != want {
					t.Errorf("%s contains %s: %t", test.pattern, rcpt, got)
				}
			}
		}
	}
}
