package checks_test

import (
	"net/netip"
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
