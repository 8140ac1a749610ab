package headers

import (
	"net/netip"
	"strings"
	"testing"
)

// domain255 has 255 octets.
var domain255 = strings.Repeat("a.", 127) + "b"

var domainTests = []struct {
	name, value, want string
	lax               bool
}{
	{"host name", "mx.example.org", "", false},
	{"single label", "localhost", "", false},
	{"single letter", "a", "", false},
	{"upper case", "MX.Example.ORG", "", false},
	{"digit first", "3com.example", "", false},
	{"digits only, as an address", "192.0.2.1", "", false},
	{"hyphens inside", "a--b-c.example", "", false},
	{"A-label", "xn--mnchen-3ya.example", "", false},
	{"dot at the end", "mx.example.org.", "", false},
	{"longest label", strings.Repeat("a", 63) + ".example", "", false},
	{"longest name", domain255, "", false},
	{"longest name with a dot", domain255 + ".", "", false},
	{"underscore", "my_pc.example", "octet 3: _ is not allowed in a domain", true},
	{"underscore at the edges", "_pc_", "octet 1: _ is not allowed in a domain", true},
	{"only an underscore", "_", "octet 1: _ is not allowed in a domain", true},
	{"empty", "", "octet 1: the domain is empty", false},
	{"only a dot", ".", "octet 1: stray dot in the domain", false},
	{"two dots at the end", "a..", "octet 3: stray dot in the domain", false},
	{"two dots", "a..b", "octet 3: stray dot in the domain", false},
	{"dot first", ".a", "octet 1: stray dot in the domain", false},
	{"hyphen first", "-a.b", `octet 1: label "-a" begins or ends with -`, false},
	{"hyphen last", "a.b-", `octet 4: label "b-" begins or ends with -`, false},
	{"only a hyphen", "-", `octet 1: label "-" begins or ends with -`, false},
	{"underscore and hyphen", "a_b.c-", `octet 6: label "c-" begins or ends with -`, false},
	{"long label", strings.Repeat("a", 64), `octet 1: label "aaaaaaaaaaaaaaaaaaaaaaaa..." has over 63 characters`, false},
	{"long name", domain255 + "c", "octet 256: domain of 256 octets; at most 255 are allowed", false},
	{"spaces", "x y z", `octet 2: " " is not allowed in a domain`, false},
	{"semicolon", "bad;name", `octet 4: ";" is not allowed in a domain`, false},
	{"literal", "[192.0.2.1]", `octet 1: "[" is not allowed in a domain`, false},
	{"IPv6 address", "2001:db8::1", `octet 5: ":" is not allowed in a domain`, false},
	{"U-label", "münchen.example", `octet 2: "\u00fc" is not allowed in a domain`, false},
	{"Latin-1", "m\xfcnchen", `octet 2: "\xfc" is not allowed in a domain`, false},
	{"NUL", "a\x00", `octet 2: "\x00" is not allowed in a domain`, false},
}

func TestCheckDomain(t *testing.T) {
	t.Parallel()
	for _, tt := range domainTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := CheckDomain(tt.value)
			wantError(t, tt.value, err, tt.want)
			if syntax := checkError(t, tt.value, err); syntax != nil && syntax.Lax != tt.lax {
				t.Errorf("%q: lax is %v", tt.value, syntax.Lax)
			}
		})
	}
}

var literalTests = []struct {
	name, value, addr, want string
}{
	{"IPv4", "[192.0.2.1]", "192.0.2.1", ""},
	{"IPv4 with leading zeros", "[192.000.002.010]", "192.0.2.10", ""},
	{"IPv6", "[IPv6:2001:db8::1]", "2001:db8::1", ""},
	{"tag in lower case", "[ipv6:::1]", "::1", ""},
	{"full IPv6", "[IPv6:2001:db8:0:0:0:0:0:1]", "2001:db8::1", ""},
	{"mapped address", "[IPv6:::FFFF:192.0.2.1]", "192.0.2.1", ""},
	{"missing tag", "[2001:db8::1]", "", "octet 2: IPv6: is missing before the address"},
	{"empty", "", "", "octet 1: the opening [ is missing"},
	{"no brackets", "192.0.2.1", "", `octet 1: "1" where the opening [ should be`},
	{"no end", "[192.0.2.1", "", "octet 11: the closing ] is missing"},
	{"only an opening bracket", "[", "", "octet 2: the closing ] is missing"},
	{"text after", "[192.0.2.1]x", "", "octet 13: the closing ] is missing"},
	{"empty brackets", "[]", "", `octet 2: "" is not an IPv4 address`},
	{"octet over 255", "[192.0.2.256]", "", `octet 2: "192.0.2.256" is not an IPv4 address`},
	{"four digits", "[192.0.2.0001]", "", `octet 2: "192.0.2.0001" is not an IPv4 address`},
	{"three octets", "[192.0.2]", "", `octet 2: "192.0.2" is not an IPv4 address`},
	{"five octets", "[192.0.2.1.1]", "", `octet 2: "192.0.2.1.1" is not an IPv4 address`},
	{"sign", "[192.0.2.-1]", "", `octet 2: "192.0.2.-1" is not an IPv4 address`},
	{"spaces", "[ 192.0.2.1 ]", "", `octet 2: " 192.0.2.1 " is not an IPv4 address`},
	{"name", "[mx.example]", "", `octet 2: "mx.example" is not an IPv4 address`},
	{"IPv4 with the tag", "[IPv6:192.0.2.1]", "", `octet 7: "192.0.2.1" is not an IPv6 address`},
	{"zone", "[IPv6:fe80::1%eth0]", "", `octet 7: "fe80::1%eth0" is not an IPv6 address`},
	{"zone without the tag", "[fe80::1%eth0]", "", `octet 2: "fe80" is not a tag of an address literal; the only one is IPv6`},
	{"unregistered tag", "[X-Tag:abc]", "", `octet 2: "X-Tag" is not a tag of an address literal; the only one is IPv6`},
	{"8-bit", "[\xff:1]", "", `octet 2: "\xff" is not a tag of an address literal; the only one is IPv6`},
}

func TestParseLiteral(t *testing.T) {
	t.Parallel()
	for _, tt := range literalTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr, err := ParseLiteral(tt.value)
			wantError(t, tt.value, err, tt.want)
			want := netip.Addr{}
			if tt.addr != "" {
				want = netip.MustParseAddr(tt.addr)
			}
			if addr != want {
				t.Errorf("%q: got %s, want %s", tt.value, addr, want)
			}
			if syntax := checkError(t, tt.value, err); syntax != nil && syntax.Lax {
				t.Errorf("%q is lax", tt.value)
			}
		})
	}
}

func FuzzCheckDomain(f *testing.F) {
	for _, tt := range domainTests {
		f.Add(tt.value)
	}
	f.Fuzz(func(t *testing.T, s string) {
		err := CheckDomain(s)
		syntax := checkError(t, s, err)
		if syntax != nil && syntax.Lax {
			if !strings.Contains(s, "_") || CheckDomain(strings.ReplaceAll(s, "_", "x")) != nil {
				t.Errorf("%q has other faults than _", s)
			}
		}
		if syntax == nil && (strings.ContainsAny(s, "_ :[]\x00") || len(s) > maxDomain+1 || index8bit(s) >= 0) {
			t.Errorf("%q passed", s)
		}
		if s != "" && len(s) < maxDomain-10 && (CheckDomain("www."+s) == nil) != (err == nil) {
			t.Errorf("%q is judged otherwise below www", s)
		}
	})
}

func FuzzParseLiteral(f *testing.F) {
	for _, tt := range literalTests {
		f.Add(tt.value)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := ParseLiteral(s)
		if syntax := checkError(t, s, err); syntax != nil {
			if syntax.Lax || addr.IsValid() {
				t.Errorf("%q: result with an error", s)
			}
			return
		}
		text := "[" + addr.String() + "]"
		if addr.Is6() {
			text = "[IPv6:" + addr.String() + "]"
		}
		if again, err := ParseLiteral(text); err != nil || again != addr || addr.Zone() != "" || addr.Is4In6() {
			t.Errorf("%q: %q parses as %s, %v", s, text, again, err)
		}
	})
}
