package checks_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"milterd/checks"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		want     checks.Address
	}{
		{"null reverse-path", "", checks.Address{}},
		{"null reverse-path in brackets", "<>", checks.Address{}},
		{"plain", "Bob@Example.ORG", checks.Address{Text: "Bob@Example.ORG", Local: "Bob", Domain: "example.org"}},
		{"in brackets", "<bob@example.org>", checks.Address{Text: "bob@example.org", Local: "bob", Domain: "example.org"}},
		{"source route", "<@relay.example:bob@example.org>", checks.Address{Text: "@relay.example:bob@example.org", Local: "bob", Domain: "example.org"}},
		{"quoted local part", `"b c"@example.org`, checks.Address{Text: `"b c"@example.org`, Local: "b c", Domain: "example.org"}},
		{"internationalised domain", "bob@BÜCHER.example", checks.Address{Text: "bob@BÜCHER.example", Local: "bob", Domain: "xn--bcher-kva.example"}},
		{"address literal", "bob@[192.0.2.1]", checks.Address{Text: "bob@[192.0.2.1]", Local: "bob", Literal: netip.MustParseAddr("192.0.2.1")}},
		{"lax: local part with stray dots", "b..ob@example.org", checks.Address{Text: "b..ob@example.org", Local: "b..ob", Domain: "example.org"}},
		{"lax: underscore in the domain", "bob@my_host.example", checks.Address{Text: "bob@my_host.example", Local: "bob", Domain: "my_host.example"}},
		{"no domain", "postmaster", checks.Address{Text: "postmaster", Local: "postmaster"}},
		{"garbage", "b o b@@", checks.Address{Text: "b o b@@"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := checks.ParseAddress(c.in); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

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

func TestRemember(t *testing.T) {
	t.Parallel()
	type key struct{}
	r := checks.NewRequest(&checks.Session{}, checks.Connect)
	n := 0
	for range 3 {
		v, err := checks.Remember(r, checks.Connect, key{}, func() (int, error) { n++; return n, errors.New("x") })
		if v != 1 || err == nil {
			t.Errorf("got %d, %v", v, err)
		}
	}
}

// TestFailuresAreForgotten shows that Remember keeps a value for its scope, and an error until the next MAIL only.
func TestFailuresAreForgotten(t *testing.T) {
	t.Parallel()
	type good struct{}
	type bad struct{}
	talk := begin(pipeline(t, nil, nil), "192.0.2.9")
	r := talk.run.Request()
	found, failed := 0, 0
	for range 2 {
		talk.mail("a@example.net")
		for range 2 {
			_, _ = checks.Remember(r, checks.Connect, good{}, func() (int, error) { found++; return 1, nil })
			_, _ = checks.Remember(r, checks.Connect, bad{}, func() (int, error) { failed++; return 0, errors.New("x") })
		}
	}
	if found != 1 || failed != 2 {
		t.Errorf("looked for the value %d times, want 1; failed %d times, want 2", found, failed)
	}
}

func TestRecipientPatterns(t *testing.T) {
	t.Parallel()
	for bad, want := range map[string]string{
		"": "not a recipient", "@": "not a recipient", "a b": "not a recipient", "user@": "not a recipient", "a@b@example.org": "not a recipient",
		"<a@example.org>": "not a recipient",

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
