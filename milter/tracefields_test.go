package milter

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"

	"milterd/checks"
	"milterd/headers"
)

func TestOwnResults(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		" mx.example.org; spf=pass":                         true,
		"mx.example.org;spf=pass":                           true,
		" MX.Example.ORG 1; spf=pass":                       true,
		"\r\n\tmx.example.org;\r\n\tspf=pass":               true,
		` "mx.example.org"; spf=pass`:                       true,
		` "mx\.example.org"; spf=pass`:                      true,
		" (a) (b (c) \\) d) mx.example.org; spf=pass":       true,
		" mx.example.org(comment); spf=pass":                true,
		" mx.example.org. ; none":                           true,
		" mx.example.org":                                   true,
		"\x01mx.example.org\x01; spf=pass":                  true,
		" ;mx.example.org; spf=pass":                        true,
		" \ufeffmx.example.org\u200b; spf=pass":             true,
		" mx.example.org\xa0; spf=pass":                     true,
		" mx.example.org, spf=pass":                         true,
		" mx.example.org/1; spf=pass":                       true,
		" <mx.example.org>; spf=pass":                       true,
		` "mx.example.org; spf=pass`:                        true,
		` \m\x\.\e\x\a\m\p\l\e\.\o\r\g; spf=pass`:           true,
		" =?us-ascii?q?mx.example.org?=; spf=pass":          true,
		" =?utf-8?b?KHgpIG14?=.example.org; spf=pass":       true,
		" =?x-none?q?mx?=.example.org; spf=pass":            true,
		" mx.example.org-2; spf=pass":                       false,
		" amx.example.org; spf=pass":                        false,
		" mx.example.orgé; spf=pass":                        false,
		" mx.example.or":                                    false,
		" (":                                                false,
		" mx.example.org.evil.example; spf=pass":            false,
		" other.example; spf=pass smtp.helo=mx.example.org": false,
		" (mx.example.org) other.example; none":             false,
		" (mx.example.org; spf=pass":                        false,
		"":                                                  false,
	} {
		if got := ownResults(value, "mx.example.org"); got != want {
			t.Errorf("%q: %t", value, got)
		}
	}
}

// TestOwnResultsWithULabels tests that an authserv-id counts however its characters are written.
func TestOwnResultsWithULabels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id, value string
		want      bool
	}{
		{"mx.xn--bcher-kva.example", " mx.b\u00fccher.example; spf=pass", true},
		{"mx.xn--bcher-kva.example", " MX.B\u00dcCHER.Example. 1; spf=pass", true},
		{"mx.xn--bcher-kva.example", " mx.bu\u0308cher.example; spf=pass", true},
		{"mx.xn--bcher-kva.example", " (a) \"mx.b\u00fccher.example\"; spf=pass", true},
		{"mx.xn--bcher-kva.example", " =?utf-8?q?mx.b=C3=BCcher.example?=; spf=pass", true},
		{"mx.xn--bcher-kva.example", " mx.bucher.example; spf=pass", false},
		{"mx.xn--bcher-kva.example", " mx.b\u00fccher.example.org; spf=pass", false},
		{"mx.example.org", " mx\uff0eexample\u3002org; spf=pass", true},
		{"mx.example.org", " " + strings.Repeat("\u00fc", 1<<20) + ".example.org; spf=pass", false},
	} {
		if got := ownResults(c.value, c.id); got != c.want {
			t.Errorf("%.60q for %s: %t", c.value, c.id, got)
		}
	}
}

func TestAuthenticationResults(t *testing.T) {
	t.Parallel()
	results := []checks.Authentication{
		{Method: "iprev", Result: "pass", Properties: []checks.Property{{Name: "policy.iprev", Value: "2001:db8::1"}}},
		{Method: "spf", Result: "fail", Properties: []checks.Property{{Name: "smtp.mailfrom", Value: "evil.example\r\nX: y; dkim=pass"}}},
		{Method: "dmarc", Result: "pass", Properties: []checks.Property{
			{Name: "header.from", Value: "example.net"},
			{Name: "policy.published-domain-policy", Value: "reject"}, {Name: "policy.applied-disposition", Value: "none"},
		}},
		{Method: "dkim", Result: "fail", Comment: "the body was (changed); \"after\" signing", Properties: []checks.Property{
			{Name: "header.d", Value: "example.net"}, {Name: "header.s", Value: "sel"},
			{Name: "header.a", Value: "rsa-sha256"}, {Name: "header.b", Value: "Ab/+d=12"},
		}},
	}
	want := strings.Join([]string{
		"mx.example.org", "spf=fail", `iprev=pass policy.iprev="2001:db8::1"`,
		`dkim=fail (the body was changed after signing) header.d=example.net header.s=sel header.a=rsa-sha256 header.b="Ab/+d=12"`,
		"dmarc=pass header.from=example.net policy.published-domain-policy=reject policy.applied-disposition=none",
	}, ";\n\t")
	if got := authenticationResults("mx.example.org", results); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := authenticationResults("mx.example.org", nil); got != "mx.example.org; none" {
		t.Errorf("nothing known: %q", got)
	}
}

// FuzzAuthenticationResults tests that no value or comment leaves its place: every line is one result, and a parser
// finds as many as there are.
func FuzzAuthenticationResults(f *testing.F) {
	f.Add("example.net", "sel", "Ab/+d=12", "the body was changed")
	f.Add("a\r\n b", "c;dkim=pass", `"`, "a) dkim=pass (b")
	f.Add(strings.Repeat("a", 255), strings.Repeat("b", 255), strings.Repeat("c", 255), strings.Repeat("(", 500))
	f.Fuzz(func(t *testing.T, domain, selector, signature, comment string) {
		text := authenticationResults("mx.example.org", []checks.Authentication{
			{Method: "dkim", Result: "fail", Comment: comment, Properties: []checks.Property{
				{Name: "header.d", Value: domain}, {Name: "header.s", Value: selector},
				{Name: "header.b", Value: signature}, {Name: "header.a", Value: signature},
			}},
			{Method: "dmarc", Result: "none", Properties: []checks.Property{{Name: "header.from", Value: domain}}},
		})
		lines := strings.Split(text, ";\n\t")
		for _, line := range lines {
			if strings.Trim(line, printableASCII) != "" || len(line) > headers.MaxLine-2 {
				t.Errorf("line %q", line)
			}
		}
		if start, end := strings.IndexByte(text, '('), strings.IndexByte(text, ')'); start >= 0 {
			text = text[:start] + text[end+1:]
		}
		_, parsed, err := authres.Parse(strings.ReplaceAll(text, "\n", ""))
		if err != nil || len(parsed) != 2 || len(lines) != 3 || strings.ContainsAny(text, "()") {
			t.Errorf("%q: %v, %v", text, parsed, err)
		}
	})
}

const printableASCII = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

func TestReceivedSPF(t *testing.T) {
	t.Parallel()
	s := &checks.Session{Client: netip.MustParseAddr("192.0.2.9"), Helo: `a"b`}
	s.Envelope.MailFrom = checks.ParseAddress("<u@example.net>")
	got := receivedSPF(s, "mx.example.org", []checks.Authentication{{Method: "spf", Result: "pass", Properties: []checks.Property{{Name: "smtp.mailfrom", Value: "example.net"}}}})
	want := "pass\n\treceiver=mx.example.org; identity=mailfrom;\n\tclient-ip=192.0.2.9;\n\tenvelope-from=\"u@example.net\";\n\thelo=\"a\\\"b\""
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := receivedSPF(s, "mx.example.org", nil); got != "" {
		t.Errorf("without a result: %q", got)
	}
}

// FuzzOwnResults shows that our authserv-id is found after any comment and before any text.
func FuzzOwnResults(f *testing.F) {
	f.Add("comment", "; spf=pass")
	f.Add("a(b)c", " 1;")
	f.Add("\\", "")
	f.Fuzz(func(t *testing.T, comment, rest string) {
		ownResults(comment+rest, "mx.example.org")
		comment = strings.NewReplacer("(", "", ")", "", "\\", "").Replace(comment)
		if !ownResults(" ("+comment+") mx.example.org;"+rest, "mx.example.org") {
			t.Errorf("not found after comment %q", comment)
		}
	})
}

func BenchmarkAuthenticationResults(b *testing.B) {
	results := []checks.Authentication{
		{Method: "iprev", Result: "pass", Properties: []checks.Property{{Name: "policy.iprev", Value: "192.0.2.9"}}},
		{Method: "spf", Result: "pass", Properties: []checks.Property{{Name: "smtp.mailfrom", Value: "example.net"}}},
	}
	b.ReportAllocs()
	for b.Loop() {
		authenticationResults("mx.example.org", results)
	}
}
