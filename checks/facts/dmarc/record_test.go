package dmarc

import (
	"strings"
	"testing"
)

func TestParseRecord(t *testing.T) {
	t.Parallel()
	all := func(p Policy) Record { return Record{Domain: p, Subdomains: p, Nonexistent: p} }
	none, quarantine, reject := all(NoPolicy), all(Quarantine), all(Reject)
	with := func(r Record, change func(*Record)) Record {
		change(&r)
		return r
	}
	for _, c := range []struct {
		name string
		text string
		want Record
		ok   bool
	}{
		{"what follows 4 KiB is ignored", "v=DMARC1; p=reject; x=" + strings.Repeat("x", 5000) + "; sp=none", reject, true},
		{"RFC 9989 B.2.1", "v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com", none, true},
		{"RFC 9989 B.2.2", "v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@example.com", none, true},
		{"RFC 9989 B.2.3, of the domain", "v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@thirdparty.example.net", none, true},
		{"RFC 9989 B.2.3, of the report consumer", "v=DMARC1;", none, false},
		{"RFC 9989 B.2.4", "v=DMARC1; rua=mailto:aggregate-reports@thirdparty.example.net; ruf=mailto:failure-reports@thirdparty.example.net", none, true},
		{"RFC 9989 B.2.5, testing", "v=DMARC1; p=quarantine; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net; t=y",
			with(quarantine, func(r *Record) { r.Testing = true }), true},
		{"RFC 9989 B.2.5", "v=DMARC1; p=reject; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net", reject, true},
		{"RFC 9989 B.3.1", "v=DMARC1; p=reject; aspf=r; rua=mailto:dmarc-feedback@example.com", reject, true},

		{"the shortest", "v=DMARC1;p=reject", reject, true},
		{"white space", "v = DMARC1 ;\tp =\treject ; ", reject, true},
		{"empty tags", "v=DMARC1;;; p=reject;;", reject, true},
		{"unknown tags", "v=DMARC1; x=y; p=reject; pct=0; rf=afrf; ri=86400; quarantine", reject, true},
		{"values in other case", "v=DMARC1; p=Reject; adkim=S", with(reject, func(r *Record) { r.StrictDKIM = true }), true},
		{"tag names in other case", "V=DMARC1; P=reject", reject, true},
		{"p= not second", "v=DMARC1; rua=mailto:a@example.com; p=quarantine", quarantine, true},
		{"strict alignment", "v=DMARC1; p=reject; adkim=s; aspf=s", with(reject, func(r *Record) { r.StrictDKIM, r.StrictSPF = true, true }), true},
		{"sp= is for all subdomains", "v=DMARC1; p=none; sp=reject", Record{Subdomains: Reject, Nonexistent: Reject}, true},
		{"np= is for those that do not exist", "v=DMARC1; p=none; np=reject", Record{Nonexistent: Reject}, true},
		{"sp= and np=", "v=DMARC1; p=reject; sp=none; np=quarantine", Record{Domain: Reject, Nonexistent: Quarantine}, true},
		{"a public suffix", "v=DMARC1; p=none; psd=y", with(none, func(r *Record) { r.PublicSuffix = true }), true},
		{"an organisation", "v=DMARC1; p=none; psd=n", with(none, func(r *Record) { r.Organization = true }), true},
		{"psd=u", "v=DMARC1; p=none; psd=u", none, true},
		{"other tags with bad values have their defaults", "v=DMARC1; p=reject; adkim=x; aspf=strict; t=maybe; psd=1; rua=nobody", reject, true},
		{"a tag twice with one value", "v=DMARC1; p=reject; p=reject", reject, true},

		{"no p=", "v=DMARC1; sp=reject", none, false},
		{"no p=, reports", "v=DMARC1; sp=reject; rua=mailto:a@example.com", none, true},
		{"a bad p=", "v=DMARC1; p=rejct", none, false},
		{"a bad p=, reports", "v=DMARC1; p=rejct; rua=mailto:a@example.com!10m", none, true},
		{"a bad p=, reports to no URI", "v=DMARC1; p=rejct; rua=a@example.com", none, false},
		{"a bad p=, reports to an incomplete address", "v=DMARC1; p=rejct; rua=mailto:", none, false},
		{"a bad p=, the second URI is valid", "v=DMARC1; p=rejct; rua=a@example.com , https://example.com/dmarc", none, true},
		{"a bad sp=", "v=DMARC1; p=reject; sp=off", none, false},
		{"a bad sp=, reports", "v=DMARC1; p=reject; sp=off; rua=mailto:a@example.com", none, true},
		{"a bad np=", "v=DMARC1; p=reject; np=", none, false},
		{"p= twice with different values", "v=DMARC1; p=reject; p=none", none, false},

		{"empty", "", none, false},
		{"v= is not first", "p=reject; v=DMARC1", none, false},
		{"another version", "v=DMARC2; p=reject", none, false},
		{"the version in other case", "v=dmarc1; p=reject", none, false},
		{"no separator after the version", "v=DMARC1 p=reject", none, false},
		{"white space before v=", " v=DMARC1; p=reject", none, false},
		{"an SPF record", "v=spf1 -all", none, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, ok := parseRecord(c.text)
			got.Text = ""
			c.want.Reports = strings.Contains(c.text, "rua=")
			if ok != c.ok || ok && got != c.want {
				t.Errorf("%q: got %+v, %t, want %+v, %t", c.text, got, ok, c.want, c.ok)
			}
		})
	}
}

// FuzzRecord tests that white space, the order and unknown tags change nothing, and that a record never asks for more than
// its tags say.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		"p=reject; sp=none; np=quarantine; adkim=s; aspf=r; t=y; psd=n", "p=none; rua=mailto:a@example.com!10m", "P = Reject", "p=x;rua=:", "p=reject;p=none", "\\;\x00\xff=",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, tags string) {
		tags = tags[:min(len(tags), maxParsed/2)]
		text := "v=DMARC1;" + tags
		r, ok := parseRecord(text)
		spaced, okSpaced := parseRecord("v\t= DMARC1 ; x = y ; " + tags + " ;")
		r.Text, spaced.Text = "", ""
		if r != spaced || ok != okSpaced {
			t.Errorf("%q: %+v, %t; with white space %+v, %t", tags, r, ok, spaced, okSpaced)
		}
		asks := strings.Contains(strings.ToLower(tags), "reject")
		if !asks && (r.Domain == Reject || r.Subdomains == Reject || r.Nonexistent == Reject) {
			t.Errorf("%q: %+v", tags, r)
		}
		if r.PublicSuffix && r.Organization {
			t.Errorf("%q is both a public suffix and an organisation", tags)
		}
	})
}
