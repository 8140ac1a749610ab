package spf

import (
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"milterd/checks"
)

// FuzzMacros tests that an expansion is bounded, deterministic and succeeds if checkMacros does, and that an explanation is
// printable.
func FuzzMacros(f *testing.F) {
	for _, s := range []string{
		"%{s} %{l1r-} %{d2}", "%{ir}.%{v}._spf.%{d2}", "%{L}%-%_%%", "%{o99r.-+,/_=}", "100%", "%{", "%{x}", "%{d0}",
		"%{c} %{r} %{t}", "a..b.%{p}", "\x00\xff", "%{h}.example.net.",
	} {
		f.Add(s, "user", "mail.example.com")
	}
	f.Fuzz(func(t *testing.T, text, local, helo string) {
		e := &evaluator{subject: Subject{Local: local, Helo: helo, Domain: "example.net"}, probe: true}
		value := func(letter byte) string { return e.value(letter, "example.net") }
		_, syntax := checkMacros(text, textLetters)
		const limit = 300
		got, err := expand(text, limit, value)
		again, _ := expand(text, limit, value)
		if got != again || len(got) > limit {
			t.Errorf("%q, then %q", got, again)
		}
		if syntax == nil && err != nil && !errors.Is(err, errTooLong) {
			t.Errorf("%q is well formed: %v", text, err)
		}
		why := e.explanation(text, "example.net")
		if len(why) > maxExplanation || strings.Trim(why, printable) != "" {
			t.Errorf("explanation %q", why)
		}
		if target, err := e.target(text, "example.net"); err == nil {
			checkRoundTrip(t, target)
		}
	})
}

// checkRoundTrip tests that a name which dnsName accepts is the same after a passage through the wire format.
func checkRoundTrip(t *testing.T, raw string) {
	t.Helper()
	name, ok := dnsName(raw)
	if !ok {
		return
	}
	wire := make([]byte, 300)
	n, err := dns.PackDomainName(name, wire, 0, nil, false)
	if err != nil {
		t.Fatalf("%q as %q: %v", raw, name, err)
	}
	back, _, err := dns.UnpackDomainName(wire[:n], 0)
	if err != nil || checks.Ask(back, dns.TypeA) != checks.Ask(name, dns.TypeA) {
		t.Errorf("%q as %q is %q: %v", raw, name, back, err)
	}
	if got := checks.Unescape(name); got != strings.TrimSuffix(raw, ".")+"." {
		t.Errorf("%q as %q is %q", raw, name, got)
	}
}

const printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

// FuzzRecord tests that every term of a record that was parsed is complete.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		"v=spf1 -all", "V=SPF1 +a:b.example/24//64 mx//0 ~all exp=why.%{d}", "v=spf1 redirect=_spf.example.net", "v=spf1 a:foo:bar/baz.example.com",
		"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ?ptr:%{o}", "v=spf1 exists:%{ir}.%{l1r-}.example.net x.y=%{t}", "v=spf1", "v=spf1  a  ",
		"v=spf1 a:%{d/}/8", "v=spf1 ip4:::1", "v=spf1 =all", "v=spf1 a/", "v=spf1 a//", "v=spf1 -", "v=spf1 +", "v=spf1 ip6:fe80::1%eth0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, txt string) {
		if !isRecord(txt) {
			t.Skip()
		}
		r, err := parseRecord(txt)
		if err != nil {
			return
		}
		for _, d := range r.directives {
			switch {
			case !strings.Contains(txt, d.text) || d.result == "":
				t.Errorf("%+v", d)
			case (d.mechanism == mechIP4 || d.mechanism == mechIP6) && !d.network.IsValid(), (d.mechanism == mechInclude || d.mechanism == mechExists) && d.spec == "":
				t.Errorf("%+v has no argument", d)
			case d.bits4 < 0 || d.bits4 > 32 || d.bits6 < 0 || d.bits6 > 128:
				t.Errorf("%+v: prefix lengths", d)
			}
		}
		for _, spec := range []string{r.redirect, r.exp} {
			if _, err := checkMacros(spec, nameLetters); err != nil {
				t.Errorf("%q: %v", spec, err)
			}
		}
	})
}
