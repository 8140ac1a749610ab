package facts_test

import (
	"net/netip"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/facts"
)

func TestDynamicWord(t *testing.T) {
	t.Parallel()
	more := map[string]bool{"kunde": true}
	for _, c := range []struct{ addr, name, want string }{
		{"192.0.2.77", "dsl-192-0-2-77.example.net", "dsl"},
		{"192.0.2.77", "DSL-192-0-2-77.Example.NET.", "dsl"},
		{"192.0.2.77", "ppp77.pool192-0-2.example.net", "ppp"},
		{"192.0.2.77", "192000002077.adsl2.example.net", "adsl"},
		{"192.0.2.77", "3221226061.dialup.example.net", "dialup"},
		{"192.0.2.77", "c000024d.dip0.example.net", "dip"},
		{"192.0.2.77", "4d0200c0.dyn.example.net", "dyn"},
		{"198.51.100.77", "dynamic-ip-1985110077.example.net", "dynamic"},
		{"192.0.2.77", "192-0-2-77.kunde.example.net", "kunde"},
		{"192.0.2.77", "192-0-2-77.kunden.example.net", ""},

		{"198.51.100.77", "h100-77.dsl.example.net", "dsl"}, // the last two bytes
		{"198.51.100.77", "h77-100.dsl.example.net", "dsl"},
		{"198.51.100.77", "h9-77.w198-51.abo.example.net", "abo"}, // the first two
		{"198.51.100.77", "ac63364-77.dhcp.example.net", ""},      // three in hexadecimal, but more digits before them
		{"198.51.100.77", "rtr-c63364-77.dhcp.example.net", "dhcp"},
		{"198.51.100.77", "h51-100.dsl.example.net", ""}, // the middle
		{"198.51.100.77", "h100-9-77.dsl.example.net", ""},
		{"198.51.100.77", "h100.dsl.example.net", ""},
		{"198.51.100.77", "h198-99-100-9.dsl.example.net", ""},

		{"2001:db8:1:2:211:22ff:fe33:4455", "2001-db8-1-2.dyn.example.net", "dyn"},
		{"2001:db8:1:2:211:22ff:fe33:4455", "2001-0db8-0001-0002.dyn.example.net", "dyn"},
		{"2001:db8:1:2:211:22ff:fe33:4455", "p20010db800010002x.dyn.example.net", "dyn"},
		{"2001:db8:1:2:211:22ff:fe33:4455", "cpe-211-22ff-fe33-4455.example.net", "cpe"},
		{"2001:db8:1:2:211:22ff:fe33:4455", "2001-db8-1.dyn.example.net", ""},
		{"2001:db8:1:2:211:22ff:fe33:4455", "2001-db8-1-3.dyn.example.net", ""},
		{"2001:db8:1:2::5", "0-0-0-5.dyn.example.net", ""},
		{"2001:db8:1:2::5", "2001-db8-1-2--5.dyn.example.net", "dyn"},
		{"::ffff:192.0.2.77", "192-0-2-77.dyn.example.net", "dyn"},

		{"192.0.2.77", "mail.pool.example.net", ""},
		{"192.0.2.77", "192-0-2-77.example.net", ""},
		{"192.0.2.77", "192-0-2-77.pool-supplies.example", ""},
		{"192.0.2.77", "192-0-2-77.dsl.co.uk", ""},
		{"192.0.2.77", "dsl-192-0-2-77.dialpad.com", "dsl"},
		{"192.0.2.77", "192-0-2-77.dialpad.com", ""},
		{"192.0.2.77", "192-0-2-77.dialpad.example.net", ""}, // part of a word
		{"192.0.2.77", "static-192-0-2-77.dsl.example.net", ""},
		{"192.0.2.77", "192-0-2-77.dsl.staticip.example.net", ""},
		{"192.0.2.77", "smtp-192-0-2-77.customer.example.net", ""},
		{"192.0.2.77", "mail2.192-0-2-77.dsl.example.net", ""},
		{"192.0.2.77", "net", ""},
		{"192.0.2.77", "", ""},
		{"192.0.2.77", ".", ""},
		{"", "dsl-192-0-2-77.example.net", ""},
	} {
		t.Run(c.addr+" "+c.name, func(t *testing.T) {
			t.Parallel()
			a, _ := netip.ParseAddr(c.addr)
			if got := facts.DynamicWord(a, c.name, more); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestIsPoolName(t *testing.T) {
	t.Parallel()
	a := netip.MustParseAddr("198.51.100.77")
	for name, want := range map[string]bool{
		"198-51-100-77.example.net":        true,  // spelled
		"198-51-100-77.static.example.net": true,  // a name of a static pool is a pool name too
		"h100-77.dsl.example.net":          true,  // part of the address and a pool word
		"a100-77.smtp-out.example.net":     false, // part of the address only: mail services have such names
		"mail.dsl.example.net":             false,
		"mail.example.net":                 false,
	} {
		if got := facts.IsPoolName(a, name); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func FuzzDynamicWord(f *testing.F) {
	f.Add([]byte{192, 0, 2, 77}, "dsl-192-0-2-77", "example.net")
	f.Add([]byte{0, 0, 0, 0}, "..", "")
	f.Add([]byte{0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 2, 0x11, 0x22, 0xff, 0xfe, 0x33, 0x44, 0x55}, "2001-db8-1-2.dyn", "example.co.uk")
	f.Fuzz(func(t *testing.T, addr []byte, host, domain string) {
		a, ok := netip.AddrFromSlice(addr)
		if !ok {
			return
		}
		name := host + "." + domain
		word := facts.DynamicWord(a, name, nil)
		if word == "" {
			return
		}
		below, _ := strings.CutSuffix(strings.ToLower(strings.TrimSuffix(name, ".")), "."+checks.OrgDomain(strings.ToLower(strings.TrimSuffix(name, "."))))
		if !strings.Contains(below, word) {
			t.Errorf("%q is not below the organisational domain of %q", word, name)
		}
		if facts.DynamicWord(a, "static."+name, nil) != "" {
			t.Errorf("static.%s looks dynamically assigned", name)
		}
		if !strings.ContainsAny(below, "0123456789abcdef") {
			t.Errorf("no part of an address in %q", name)
		}
	})
}
