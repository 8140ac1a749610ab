package checks_test

import (
	"net/netip"
	"strings"
	"testing"

	"milterd/checks"
)

func TestParseNetwork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"192.0.2.1", "192.0.2.1/32"},
		{"192.0.2.0/24", "192.0.2.0/24"},
		{"2001:db8::/32", "2001:db8::/32"},
		{"::ffff:192.0.2.1", "192.0.2.1/32"},
		{"::ffff:203.0.113.0/120", "203.0.113.0/24"},
		{"::/0", "::/0"},

		{"10.1.1.1/8", `error: "10.1.1.1/8" has bits set after the network part; did you mean "10.0.0.0/8"?`},
		{"10.0.0.0/33", `error: "10.0.0.0/33" is neither an address nor a network`},
		{"fe80::1%eth0", `error: "fe80::1%eth0" is neither an address`},
		{"example.net", `error: "example.net" is neither an address`},
		{"", `error: "" is neither an address`},
	} {
		got := ""
		if p, err := checks.ParseNetwork(c.in); err != nil {
			got = "error: " + err.Error()
		} else {
			got = p.String()
		}
		if got != c.want && !(strings.HasPrefix(c.want, "error") && strings.HasPrefix(got, c.want)) {
			t.Errorf("%q: got %s, want %s", c.in, got, c.want)
		}
	}
}

// TestNetwork tests the network of an address.
func TestNetwork(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.9": "192.0.2.0/24", "::ffff:192.0.2.9": "192.0.2.0/24", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := checks.Network(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	if checks.Network(netip.Addr{}).IsValid() {
		t.Error("an invalid address has a network")
	}
}
