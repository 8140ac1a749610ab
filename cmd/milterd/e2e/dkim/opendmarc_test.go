package dkim

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts/dmarc"
	"milterd/milter/miltertest"
)

// policies are DMARC records by domain.
var policies = [][2]string{
	{"bank.com", "v=DMARC1; p=reject; rua=mailto:dmarc@bank.com"},
	{"news.bank.com", "v=DMARC1; p=none"},
	{"club.org", "v=DMARC1; p=quarantine"},
	{"shop.co.uk", "v=DMARC1; p=reject"},
	{"parts.com", "v=DMARC1; p=reject; sp=none"},
	{"quiet.com", "v=DMARC1; p=none; sp=quarantine"},
	{"spaces.com", "v=DMARC1 ;p = Reject ; sp= none;"},
	{"unknown.com", "v=DMARC1; x=1; p=reject; fo=1; pct=0"},
	{"b.middle.org", "v=DMARC1; p=none"},
	{"middle.org", "v=DMARC1; p=reject"},
	{"strictdkim.net", "v=DMARC1; p=reject; adkim=s"},
	{"strictspf.net", "v=DMARC1; p=reject; aspf=s"},
	{"capital.com", "V=DMARC1; p=reject"},
	{"nothing.net", "v=DMARC1"},
	{"reports.net", "v=DMARC1; p=refuse; rua=mailto:a@reports.net"},
	{"np.org", "v=DMARC1; p=reject; sp=quarantine; np=none"},
	{"own.org", "v=DMARC1; p=reject"},
	{"a.own.org", "v=DMARC1; p=reject; psd=n"},
	{"gov.uk", "v=DMARC1; p=reject; psd=y"},
	{"github.io", "v=DMARC1; p=quarantine"},
}

// differences are where OpenDMARC 1.4.2, which follows RFC 7489, has another result, and why. Sections are those of RFC 9989.
var differences = []struct {
	domain string // of the record; of authors at it and below it
	below  bool   // only of authors below it
	why    string
}{
	{"strictdkim.net", false, "strict alignment is equality of domains (4.4.1); OpenDMARC lets a subdomain of the author domain pass"},
	{"strictspf.net", false, "likewise (4.4.2)"},
	{"nothing.net", false, "a record without p= counts as absent (4.10.1); OpenDMARC has permerror"},
	{"reports.net", false, "a record with an invalid p= and with rua= counts as p=none (4.10.1); OpenDMARC has permerror"},
	{"b.np.org", true, "np= applies to subdomains that do not exist (4.7)"},
	{"a.own.org", false, "psd=n makes an organisational domain (4.10.2)"},
	{"gov.uk", false, "psd=y gives the domains below a public suffix a policy (4.10), and the suffix is aligned with itself alone"},
	{"github.io", true, "a public suffix without psd=y is an organisational domain (4.10.2)"},
}

// explanation returns the index of the difference that concerns an author domain, or -1.
func explanation(author string) int {
	best := -1
	for i, d := range differences {
		if checks.Under(author, d.domain) && !(d.below && author == d.domain) {
			best = i
		}
	}
	return best
}

// situation is a message of an author domain, with the domains for which SPF and DKIM pass. Where one is empty, it fails for a
// stranger's.
type situation struct{ author, spf, dkim string }

// situations returns messages of domains with a policy and of those below them, with passes for domains related to them in each
// way.
func situations() []situation {
	var list []situation
	for _, p := range policies {
		for _, author := range []string{p[0], "sub." + p[0], "a.b." + p[0]} {
			domains := []string{"", author, "x." + author, "other." + p[0], "not" + p[0]}
			if author != p[0] {
				domains = append(domains, p[0])
			}
			for _, spf := range domains {
				for _, dkim := range domains {
					list = append(list, situation{author, spf, dkim})
				}
			}
		}
	}
	return list
}

// TestOpenDMARC compares the results and policies of DMARC with those of OpenDMARC, for the same records and the same results of
// SPF and DKIM. They are equal but for the differences between the RFCs.
func TestOpenDMARC(t *testing.T) {
	miltertest.Require(t)
	var zone strings.Builder
	for _, p := range policies {
		fmt.Fprintf(&zone, "_dmarc.%s. TXT %q\n%s. A 192.0.2.1\nsub.%s. A 192.0.2.1\n", p[0], p[1], p[0], p[0])
	}
	dns := checktest.NewZone(t, zone.String())
	list := situations()
	theirs := openDMARC(t, list)
	equal, different := 0, make([]int, len(differences))
	for i, s := range list {
		ours := evaluate(t, dns, s)
		if ours == theirs[i] {
			equal++
			continue
		}
		why := explanation(s.author)
		if why < 0 {
			t.Errorf("%+v: %s, OpenDMARC: %s", s, ours, theirs[i])
			continue
		}
		different[why]++
	}
	for i, n := range different {
		t.Logf("%d results differ for %s: %s", n, differences[i].domain, differences[i].why)
		if n == 0 {
			t.Errorf("no result differs for %s", differences[i].domain)
		}
	}
	t.Logf("%d of %d results are equal", equal, len(list))
}

// evaluate returns the result and the policy of a situation.
func evaluate(t *testing.T, dns *checktest.Zone, s situation) string {
	t.Helper()
	identifiers := []dmarc.Identifier{{Method: "spf", Domain: failing}, {Method: "dkim", Domain: failing}}
	for i, domain := range []string{s.spf, s.dkim} {
		if domain != "" {
			identifiers[i].Domain, identifiers[i].State = domain, dmarc.Passed
		}
	}
	e, err := dmarc.NewTree(dns).Evaluate(context.Background(), []string{s.author}, identifiers)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s p=%s", e.Result, e.Published)
}

// openDMARC returns the results and policies of OpenDMARC, which reads the results of SPF and DKIM from a field of the message, and
// the records from a file.
func openDMARC(t *testing.T, list []situation) []string {
	t.Helper()
	var records strings.Builder
	for _, p := range policies {
		fmt.Fprintf(&records, "_dmarc.%s %s\n", p[0], p[1])
	}
	dir := t.TempDir()
	socket := startFilter(t, "opendmarc", fmt.Sprintf("AuthservID mx.example\nTestDNSData %s\nIgnoreHosts %s\n"+
		"PublicSuffixList /usr/share/publicsuffix/public_suffix_list.dat\n", write(t, dir, "dns", records.String()), write(t, dir, "ignore", "")))
	filter := dial(t, socket)
	var answers []string
	for _, s := range list {
		sender := cmp.Or(s.spf, failing)
		outcome := filter.send("ann@"+sender, fmt.Sprintf("Authentication-Results: mx.example; %s; %s\nFrom: Ann <ann@%s>\n"+
			"Date: Sat, 21 Nov 2026 12:00:00 +0000\n\nHello\n", result("spf", "smtp.mailfrom=", s.spf), result("dkim", "header.d=", s.dkim), s.author))
		for _, change := range outcome.Changes {
			if m := openDMARCResult.FindStringSubmatch(change.Value); m != nil {
				answers = append(answers, fmt.Sprintf("%s p=%s", m[1], m[2]))
			}
		}
	}
	if len(answers) != len(list) {
		t.Fatalf("OpenDMARC has %d results for %d messages", len(answers), len(list))
	}
	return answers
}

var openDMARCResult = regexp.MustCompile(`dmarc=(\w+)(?: \(p=(\w+))?`)

// failing is the domain for which SPF and DKIM fail.
const failing = "failing.example"

// result returns a result of a method: pass for a domain, or fail for the failing one.
func result(method, property, domain string) string {
	if domain == "" {
		return method + "=fail " + property + failing
	}
	return method + "=pass " + property + domain
}
