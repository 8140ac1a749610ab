package headers

import (
	"net/netip"
	"strings"
	"testing"
)

var a64, a65 = strings.Repeat("a", 64), strings.Repeat("a", 65)

var pathTests = []struct {
	name  string
	value string
	want  Path
}{
	{"null path", "", Path{}},
	{"null path in brackets", "<>", Path{}},
	{"without brackets", "a@x", Path{Local: "a", Domain: "x"}},
	{"in brackets", "<a@X.Example>", Path{Local: "a", Domain: "X.Example"}},
	{"spaces around the brackets", " <a@x>\t", Path{Local: "a", Domain: "x"}},
	{"all of atext", "!#$%&'*+-/=?^_`{|}~@x", Path{Local: "!#$%&'*+-/=?^_`{|}~", Domain: "x"}},
	{"dots", "a.b.c@x-y.z", Path{Local: "a.b.c", Domain: "x-y.z"}},
	{"VERP", "bounce+user=example.org@lists.example", Path{Local: "bounce+user=example.org", Domain: "lists.example"}},
	{"route", "<@relay:Alice@MX.test>", Path{Local: "Alice", Domain: "MX.test"}},
	{"longer route", "@a.example,@b.example:user@dom.example", Path{Local: "user", Domain: "dom.example"}},
	{"quoted local part", `"a b@c"@x`, Path{Local: "a b@c", Domain: "x"}},
	{"quoted pairs", `"a\"\\\c"@x`, Path{Local: `a"\c`, Domain: "x"}},
	{"quotes without need", `"a.b"@x`, Path{Local: "a.b", Domain: "x"}},
	{"dots in quotes", `"a..b."@x`, Path{Local: "a..b.", Domain: "x"}},
	{"empty quotes", `""@x`, Path{Domain: "x"}},
	{"IPv4 literal", "a@[192.0.2.1]", Path{Local: "a", Domain: "[192.0.2.1]", Literal: netip.MustParseAddr("192.0.2.1")}},
	{"IPv6 literal", "a@[ipv6:2001:DB8::1]", Path{Local: "a", Domain: "[ipv6:2001:DB8::1]", Literal: netip.MustParseAddr("2001:db8::1")}},
	{"mapped literal", "a@[IPv6:::ffff:192.0.2.1]", Path{Local: "a", Domain: "[IPv6:::ffff:192.0.2.1]", Literal: netip.MustParseAddr("192.0.2.1")}},
	{"digits as domain", "a@192.0.2.1", Path{Local: "a", Domain: "192.0.2.1"}},
	{"UTF-8", "用户@例子.example", Path{Local: "用户", Domain: "例子.example"}},
	{"UTF-8 in quotes", `"用 户"@x`, Path{Local: "用 户", Domain: "x"}},
	{"U-label that ends with a mark", "a@हिन्दी.example", Path{Local: "a", Domain: "हिन्दी.example"}},
	{"U-label over 63 octets", "a@" + strings.Repeat("例", 30), Path{Local: "a", Domain: strings.Repeat("例", 30)}},
	{"longest local part", a64 + "@x", Path{Local: a64, Domain: "x"}},
	{"longest label", "a@" + strings.Repeat("b", 63), Path{Local: "a", Domain: strings.Repeat("b", 63)}},
	{"longest path", "a@" + strings.Repeat("b.", 125) + "bb", Path{Local: "a", Domain: strings.Repeat("b.", 125) + "bb"}},
}

var laxPaths = []struct {
	name, value string
	want        Path
	cause       string
}{
	{"leading dot", ".a@x", Path{Local: ".a", Domain: "x"}, "octet 1: stray dot in the local part"},
	{"trailing dot", "a.@x", Path{Local: "a.", Domain: "x"}, "octet 2: stray dot in the local part"},
	{"double dot", "<a..b@x>", Path{Local: "a..b", Domain: "x"}, "octet 4: stray dot in the local part"},
	{"long local part", a65 + "@x", Path{Local: a65, Domain: "x"}, "octet 65: local part of 65 octets; at most 64 are allowed"},
	{"underscore", "a@b_c.x", Path{Local: "a", Domain: "b_c.x"}, "octet 4: _ is not allowed in a domain"},
	{"underscore at the edge", "a@_b_.x", Path{Local: "a", Domain: "_b_.x"}, "octet 3: _ is not allowed in a domain"},
	{"underscore in the route", "@a_b:c@x", Path{Local: "c", Domain: "x"}, "octet 3: _ is not allowed in a domain"},
	{"dot after the domain", "<a@x.example.>", Path{Local: "a", Domain: "x.example"}, "octet 13: dot after the domain"},
	{"three faults", ".a@b_c.", Path{Local: ".a", Domain: "b_c"}, "octet 1: stray dot in the local part"},
}

var badPaths = []struct{ name, value, want string }{
	{"no domain", "alice", "octet 6: the domain is missing"},
	{"postmaster", "<postmaster>", "octet 12: the domain is missing"},
	{"no @ but dots", "a..b", "octet 5: the domain is missing"},
	{"empty domain", "<a@>", "octet 4: the domain is empty"},
	{"empty local part", ":@x", `octet 1: ":" is not allowed in a local part without quotes`},
	{"only a domain", "@x", "octet 1: nothing before the @"},
	{"route without mailbox", "@x:", "octet 4: the local part is empty"},
	{"route without @", "@x,y:a@b", `octet 4: "y" where the next @domain of the route should be`},
	{"route with an empty domain", "@:a@b", "octet 2: the domain is empty"},
	{"only a dot", ".@x", "octet 1: the local part is empty"},
	{"two @", "a@b@c", `octet 4: "@" is not allowed in a domain`},
	{"space", "a b@c", `octet 2: " " is not allowed in a local part without quotes`},
	{"space for an address", " ", `octet 1: " " is not allowed in a local part without quotes`},
	{"space in the brackets", "< >", `octet 2: " " is not allowed in a local part without quotes`},
	{"space first", " a@b", `octet 1: " " is not allowed in a local part without quotes`},
	{"space last", "a@b ", `octet 4: " " is not allowed in a domain`},
	{"space after the bracket", "< a@b>", `octet 2: " " is not allowed in a local part without quotes`},
	{"space before the bracket", "<a@b >", `octet 5: " " is not allowed in a domain`},
	{"no closing bracket", "<a@b", "octet 5: the closing > is missing"},
	{"only a bracket", "<", "octet 2: the closing > is missing"},
	{"no opening bracket", "a@b>", `octet 4: ">" is not allowed in a domain`},
	{"two brackets", "<<a@b>>", `octet 2: "<" is not allowed in a local part without quotes`},
	{"comment", "a(b)@c", `octet 2: "(" is not allowed in a local part without quotes`},
	{"control", "a\x01@b", `octet 2: "\x01" is not allowed in a local part without quotes`},
	{"NUL in quotes", "\"\x00\"@b", `octet 2: "\x00" is not allowed in a local part`},
	{"control after a backslash", "\"\\\r\"@b", `octet 3: "\r" cannot follow a backslash`},
	{"open quote", `"a@b`, "octet 1: quoted string is not closed"},
	{"backslash before the end", `"a\`, "octet 1: quoted string is not closed"},
	{"quotes and more", `"a"b@c`, `octet 4: "b" where the @ should be`},
	{"quotes in the middle", `a."b"@c`, `octet 3: "\"" is not allowed in a local part without quotes`},
	{"Latin-1 local part", "\xe9@b", "octet 1: 8-bit octets in the local part that are not UTF-8"},
	{"Latin-1 in quotes", "\"a\xe9\"@b", "octet 3: 8-bit octets in the local part that are not UTF-8"},
	{"Latin-1 domain", "a@\xe9", `octet 3: "\xe9" is not allowed in a domain`},
	{"no-break space in the domain", "a@b\u00a0c", `octet 4: "\u00a0" is not allowed in a domain`},
	{"two dots in the domain", "a@b..c", "octet 5: stray dot in the domain"},
	{"two dots after the domain", "a@b..", "octet 5: stray dot in the domain"},
	{"dot before the domain", "a@.b", "octet 3: stray dot in the domain"},
	{"only a dot for a domain", "a@.", "octet 3: stray dot in the domain"},
	{"hyphen first", "a@-b", `octet 3: label "-b" begins or ends with -`},
	{"hyphen last", "a@b-.c", `octet 4: label "b-" begins or ends with -`},
	{"long label", "a@" + strings.Repeat("b", 64), `octet 3: label "bbbbbbbbbbbbbbbbbbbbbbbb..." has over 63 characters`},
	{"long U-label", "a@" + strings.Repeat("ü", 60), `octet 3: label "\u00fc\u00fc\u00fc\u00fc\u00fc\u00fc\u00fc\u00fc\u00fc\u00fc\u00fc\u00fc..." has over 59 characters`},
	{"long path", "<a@" + strings.Repeat("b.", 126) + "c>", "octet 256: path of 257 octets; at most 256 are allowed"},
	{"long path without brackets", "a@" + strings.Repeat("b.", 126) + "c", "octet 255: path of 257 octets; at most 256 are allowed"},
	{"literal that is no address", "a@[x]", `octet 4: "x" is not an IPv4 address`},
	{"literal without end", "a@[192.0.2.1", "octet 13: the closing ] is missing"},
	{"literal without tag", "a@[2001:db8::1]", "octet 4: IPv6: is missing before the address"},
	{"lax and hard faults", ".a@[2001:db8::1]", "octet 5: IPv6: is missing before the address"},
	{"underscore and hard fault", "a@b_c..d", "octet 7: stray dot in the domain"},
}

func TestParsePath(t *testing.T) {
	t.Parallel()
	for _, tt := range pathTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParsePath(tt.value)
			if err != nil || got != tt.want {
				t.Errorf("%q:\n got %+v, %v\nwant %+v", tt.value, got, err, tt.want)
			}
		})
	}
}

func TestParsePathLax(t *testing.T) {
	t.Parallel()
	for _, tt := range laxPaths {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParsePath(tt.value)
			wantError(t, tt.value, err, tt.cause)
			if syntax := checkError(t, tt.value, err); syntax == nil || !syntax.Lax {
				t.Errorf("%q is not lax", tt.value)
			}
			if got != tt.want {
				t.Errorf("%q:\n got %+v\nwant %+v", tt.value, got, tt.want)
			}
		})
	}
}

func TestParsePathRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range badPaths {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParsePath(tt.value)
			wantError(t, tt.value, err, tt.want)
			if syntax := checkError(t, tt.value, err); syntax != nil && syntax.Lax || got != (Path{}) {
				t.Errorf("%q: lax, or a result with an error", tt.value)
			}
		})
	}
}

func TestPathString(t *testing.T) {
	t.Parallel()
	p := Path{Local: `A"b\`, Domain: "MX.Example"}
	if got, want := p.String(), `"A\"b\\"@MX.Example`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := (Path{Local: "postmaster"}).String(); got != "postmaster" {
		t.Errorf("without a domain: got %s", got)
	}
	if got := (Path{}).String(); got != "" {
		t.Errorf("null path: got %s", got)
	}
}

func FuzzParsePath(f *testing.F) {
	for _, tt := range pathTests {
		f.Add(tt.value)
	}
	for _, tt := range laxPaths {
		f.Add(tt.value)
	}
	for _, tt := range badPaths {
		f.Add(tt.value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		p, err := ParsePath(value)
		syntax := checkError(t, value, err)
		if syntax != nil && !syntax.Lax {
			if p != (Path{}) {
				t.Errorf("%q: got %+v", value, p)
			}
			return
		}
		if p == (Path{}) {
			if value = strings.Trim(value, " \t"); value != "" && value != "<>" {
				t.Errorf("%q is the null path", value)
			}
			return
		}
		if p.Domain == "" || p.Literal.IsValid() != (p.Domain[0] == '[') {
			t.Errorf("%q: got %+v", value, p)
		}
		text := p.String()
		if len(text) > maxPath-len("<>") {
			return // quotes made a lax path too long
		}
		for _, s := range []string{text, "<" + text + ">"} {
			if again, errAgain := ParsePath(s); again != p || err == nil && errAgain != nil {
				t.Errorf("%q: %q parses as %+v, %v", value, s, again, errAgain)
			}
		}
		if err == nil && !p.Literal.IsValid() && index8bit(p.Domain) < 0 && CheckDomain(p.Domain) != nil {
			t.Errorf("%q: %v", value, CheckDomain(p.Domain))
		}
	})
}
