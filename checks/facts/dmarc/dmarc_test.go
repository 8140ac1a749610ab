package dmarc_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks/checktest"
	"milterd/checks/facts/dmarc"
)

// identifiers parses words such as "spf:example.com" (it passes), "dkim?example.com" (no answer) and "dkim!example.com" (it
// fails).
func identifiers(text string) []dmarc.Identifier {
	var list []dmarc.Identifier
	for word := range strings.FieldsSeq(text) {
		i := strings.IndexAny(word, ":?!")
		state := map[byte]dmarc.State{':': dmarc.Passed, '?': dmarc.Unknown, '!': dmarc.Failed}[word[i]]
		list = append(list, dmarc.Identifier{Method: word[:i], Domain: word[i+1:], State: state})
	}
	return list
}

// summary writes an evaluation as "fail example.com reject by example.com", with the methods that align in parentheses.
func summary(e dmarc.Evaluation) string {
	s := string(e.Result)
	if e.Author != "" {
		s += " " + e.Author
	}
	if e.PolicyDomain != "" {
		s += fmt.Sprintf(" %s by %s", e.Published, e.PolicyDomain)
	}
	if e.Applied != e.Published {
		s += fmt.Sprintf(", applied %s", e.Applied)
	}
	for _, id := range e.Aligned {
		s += fmt.Sprintf(" (%s %s)", id.Method, id.Domain)
	}
	return s
}

type evaluateCase struct {
	name    string
	zone    string
	authors string
	ids     string
	want    string
}

func runEvaluate(t *testing.T, cases []evaluateCase) {
	t.Helper()
	t.Parallel()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e, err := dmarc.NewTree(checktest.NewZone(t, c.zone)).Evaluate(t.Context(), strings.Fields(c.authors), identifiers(c.ids))
			if got := summary(e); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if (err != nil) != (e.Result == dmarc.TempError) {
				t.Errorf("%s, error %v", e.Result, err)
			}
		})
	}
}

// TestAppendix has the examples of RFC 9989, appendix B.
func TestAppendix(t *testing.T) {
	example := records("example.com p=reject")
	simple := records("example.com p=reject", "signing.example.com p=none")
	bank := records("bank.example p=reject; psd=y", "giant.bank.example p=quarantine")
	const deep = "a.b.c.d.e.f.g.h.i.j.k.example.com"
	runEvaluate(t, []evaluateCase{
		{"B.1.1 example 1: SPF in strict alignment", records("example.com p=reject; aspf=s"), "example.com", "spf:example.com",
			"pass example.com reject by example.com (spf example.com)"},
		{"B.1.1 example 2: SPF in relaxed alignment", example, "example.com", "spf:child.example.com",
			"pass example.com reject by example.com (spf child.example.com)"},
		{"B.1.1 example 2, where strict alignment is asked for", records("example.com p=reject; aspf=s"), "example.com", "spf:child.example.com",
			"fail example.com reject by example.com"},
		{"B.1.1 example 3: no SPF alignment", example, "child.example.com", "spf:example.net",
			"fail child.example.com reject by example.com"},
		{"B.1.2 example 1: DKIM in strict alignment", records("example.com p=reject; adkim=s"), "example.com", "dkim:example.com",
			"pass example.com reject by example.com (dkim example.com)"},
		{"B.1.2 example 2: DKIM in relaxed alignment", example, "child.example.com", "dkim:example.com",
			"pass child.example.com reject by example.com (dkim example.com)"},
		{"B.1.2 example 2, where strict alignment is asked for", records("example.com p=reject; adkim=s"), "child.example.com", "dkim:example.com",
			"fail child.example.com reject by example.com"},
		{"B.1.2 example 3: no DKIM alignment", example, "child.example.com", "dkim:example.net",
			"fail child.example.com reject by example.com"},

		{"B.2.1: monitoring", records("example.com p=none; rua=mailto:dmarc-feedback@example.com"), "example.com", "",
			"fail example.com none by example.com"},
		{"B.2.5: a subdomain under test", records("test.example.com p=quarantine; rua=mailto:dmarc-feedback@example.com; t=y"), "test.example.com", "",
			"fail test.example.com quarantine by test.example.com, applied none"},
		{"B.2.5: the subdomain after the test", records("test.example.com p=reject; rua=mailto:dmarc-feedback@example.com"), "test.example.com", "",
			"fail test.example.com reject by test.example.com"},
		{"B.2.5: the domain above", records("test.example.com p=reject; rua=mailto:dmarc-feedback@example.com"), "example.com", "",
			"none example.com"},
		{"B.3.1", records("example.com p=reject; aspf=r; rua=mailto:dmarc-feedback@example.com"), "example.com", "spf:mail.example.com dkim:example.com",
			"pass example.com reject by example.com (dkim example.com)"},

		{"B.4.1: both align", simple, "example.com", "spf:example.com dkim:signing.example.com",
			"pass example.com reject by example.com (spf example.com)"},
		{"B.4.1: DKIM alone", simple, "example.com", "dkim:signing.example.com",
			"pass example.com reject by example.com (dkim signing.example.com)"},
		{"B.4.1: none passes", simple, "example.com", "spf!example.com dkim!signing.example.com",
			"fail example.com reject by example.com (spf example.com) (dkim signing.example.com)"},
		{"B.4.2: SPF", simple, deep, "spf:example.com", "pass " + deep + " reject by example.com (spf example.com)"},
		{"B.4.2: DKIM", simple, deep, "dkim:signing.example.com", "pass " + deep + " reject by example.com (dkim signing.example.com)"},
		{"B.4.2: none passes", simple, deep, "", "fail " + deep + " reject by example.com"},
		{"B.4.3: SPF aligns", bank, "giant.bank.example", "spf:mail.giant.bank.example dkim:mail.mega.bank.example",
			"pass giant.bank.example quarantine by giant.bank.example (spf mail.giant.bank.example)"},
		{"B.4.3: DKIM does not", bank, "giant.bank.example", "dkim:mail.mega.bank.example",
			"fail giant.bank.example quarantine by giant.bank.example"},
		{"B.4.3: the policy of the public suffix", bank, "mega.bank.example", "", "fail mega.bank.example reject by bank.example"},
	})
}

// TestPolicy tests which record and which of its policies apply.
func TestPolicy(t *testing.T) {
	runEvaluate(t, []evaluateCase{
		{"no author domain", records("example.com p=reject"), "", "spf:example.com", "none"},
		{"no record", "", "example.com", "spf:example.com dkim!example.com", "none example.com"},
		{"sp= for a subdomain", records("example.com p=reject; sp=quarantine") + "a.example.com A 192.0.2.1\n", "a.example.com", "",
			"fail a.example.com quarantine by example.com"},
		{"sp= does not hold for the domain itself", records("example.com p=reject; sp=quarantine"), "example.com", "",
			"fail example.com reject by example.com"},
		{"np= for a subdomain that does not exist", records("example.com p=none; np=reject"), "a.example.com", "",
			"fail a.example.com reject by example.com"},
		{"np=, the subdomain exists", records("example.com p=none; np=reject") + "a.example.com TXT x\n", "a.example.com", "",
			"fail a.example.com none by example.com"},
		{"np=, a name below the subdomain exists", records("example.com p=none; np=reject") + "b.a.example.com A 192.0.2.1\n", "a.example.com", "",
			"fail a.example.com none by example.com"},
		{"np=, the subdomain is a CNAME of nothing", records("example.com p=none; np=reject") + "a.example.com CNAME gone.example.net\n", "a.example.com", "",
			"fail a.example.com none by example.com"},
		{"np=, and a pass", records("example.com p=none; np=reject"), "a.example.com", "dkim:example.com",
			"pass a.example.com none by example.com (dkim example.com)"},
		{"np= does not hold for a domain with its own record", records("example.com p=none; np=reject", "a.example.com p=none"), "a.example.com", "",
			"fail a.example.com none by a.example.com"},
		{"t=y, reject", records("example.com p=reject; t=y"), "example.com", "", "fail example.com reject by example.com, applied quarantine"},
		{"t=y, sp=", records("example.com p=reject; sp=quarantine; t=y"), "a.example.com", "", "fail a.example.com quarantine by example.com, applied none"},
		{"t=y, none", records("example.com p=none; t=y"), "example.com", "", "fail example.com none by example.com"},
		{"the own record before that of the organisation", records("example.com p=reject", "a.example.com p=none"), "a.example.com", "",
			"fail a.example.com none by a.example.com"},
		{"a record between is not used", records("example.com p=reject; sp=quarantine", "b.example.com p=none"), "a.b.example.com", "",
			"fail a.b.example.com quarantine by example.com"},
		{"a record between with psd=n is", records("example.com p=reject", "b.example.com p=none; psd=n"), "a.b.example.com", "",
			"fail a.b.example.com none by b.example.com"},
		{"an invalid record counts as absent", records("example.com p=reject", "a.example.com p=nothing"), "a.example.com", "",
			"fail a.example.com reject by example.com"},
		{"an invalid record with reports", records("example.com p=reject", "a.example.com p=nothing; rua=mailto:a@example.com"), "a.example.com", "",
			"fail a.example.com none by a.example.com"},
		{"two records", records("example.com p=reject", "example.com p=none"), "example.com", "", "none example.com"},
		{"a record beside other text", records("example.com p=reject") + "_dmarc.example.com TXT \"v=spf1 -all\"\n", "example.com", "",
			"fail example.com reject by example.com"},
		{"a record in two strings", `_dmarc.example.com TXT "v=DMARC1; p=rej" "ect"`, "example.com", "", "fail example.com reject by example.com"},
		{"an escaped semicolon", `_dmarc.example.com TXT "v=DMARC1\; p=reject"`, "example.com", "", "fail example.com reject by example.com"},
		{"a CNAME record", "_dmarc.example.com CNAME p.example.net\np.example.net TXT \"v=DMARC1; p=reject\"", "example.com", "",
			"fail example.com reject by example.com"},
		{"a wildcard", `*.example.com TXT "v=DMARC1; p=reject"`, "a.example.com", "", "fail a.example.com reject by a.example.com"},
		{"a name too long for a question", records("example.com p=reject"), strings.Repeat(strings.Repeat("a", 60)+".", 3) + strings.Repeat("b", 55) + ".example.com", "",
			"fail " + strings.Repeat(strings.Repeat("a", 60)+".", 3) + strings.Repeat("b", 55) + ".example.com reject by example.com"},
		{"psd=y above a long name", records("f.g.h.i.j.k.example p=reject; psd=y"), "a.b.c.d.e.f.g.h.i.j.k.example", "",
			"fail a.b.c.d.e.f.g.h.i.j.k.example reject by f.g.h.i.j.k.example"},
	})
}

// TestAuthors tests messages with several author domains: the strictest result applies.
func TestAuthors(t *testing.T) {
	zone := records("bank.example p=reject", "shop.example p=quarantine", "club.example p=none", "!SERVFAIL broken.example")
	runEvaluate(t, []evaluateCase{
		{"one fails", zone, "evil.example bank.example", "spf:evil.example", "fail bank.example reject by bank.example"},
		{"one fails, in the other order", zone, "bank.example evil.example", "spf:evil.example", "fail bank.example reject by bank.example"},
		{"the stricter policy", zone, "shop.example bank.example club.example", "", "fail bank.example reject by bank.example"},
		{"a stricter policy that passes", zone, "shop.example bank.example", "dkim:bank.example", "fail shop.example quarantine by shop.example"},
		{"all pass", zone, "shop.example bank.example", "dkim:bank.example spf:shop.example", "pass shop.example quarantine by shop.example (spf shop.example)"},
		{"one without record", zone, "bank.example nowhere.example", "dkim:bank.example", "none nowhere.example"},
		{"no answer for one", zone, "club.example broken.example", "", "temperror broken.example"},
		{"no answer for one, another fails", zone, "broken.example shop.example", "", "fail shop.example quarantine by shop.example"},
		{"five", zone, "a.example b.example c.example d.example bank.example", "", "fail bank.example reject by bank.example"},
		{"six", zone, "a.example b.example c.example d.example e.example bank.example", "", "permerror"},
	})
}

// TestSilentAuthor tests that an author domain whose servers are silent does not use up the time for another one.
func TestSilentAuthor(t *testing.T) {
	t.Parallel()
	zone := records("bank.example p=reject", "shop.example p=none; np=reject")
	for authors, want := range map[string]string{
		"a.evil.example bank.example":                  "fail bank.example reject by bank.example",
		"a.evil.example a.b.bank.example":              "fail a.b.bank.example reject by bank.example",
		"a.b.bank.example b.evil.example":              "fail a.b.bank.example reject by bank.example",
		"a.evil.example b.evil.example x.shop.example": "fail x.shop.example reject by shop.example",
	} {
		t.Run(authors, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
				defer cancel()
				dns := checktest.Silent{Resolver: checktest.NewZone(t, zone), About: checktest.Below("evil.example")}
				e, _ := dmarc.NewTree(dns).Evaluate(ctx, strings.Fields(authors), nil)
				if got := summary(e); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		})
	}
}

// TestTempError tests that a DNS failure matters only where the answer could have changed the result.
func TestTempError(t *testing.T) {
	zone := records("example.com p=reject", "!SERVFAIL a.example.com")
	runEvaluate(t, []evaluateCase{
		{"the record", records("!SERVFAIL example.com"), "example.com", "", "temperror example.com"},
		{"the record, and a pass", records("!SERVFAIL example.com"), "example.com", "spf:example.com", "temperror example.com"},
		{"the record of the organisation", records("!TIMEOUT example.com"), "a.example.com", "", "temperror a.example.com"},
		{"a domain between", records("example.com p=reject", "!TIMEOUT b.example.com"), "a.b.example.com", "", "temperror a.b.example.com"},
		{"the registry, and a record below", records("example.com p=reject", "!TIMEOUT com"), "a.example.com", "", "fail a.example.com reject by example.com"},
		{"the registry, and no record below", records("!TIMEOUT com"), "a.example.com", "", "temperror a.example.com"},
		{"SPF of the author domain", records("example.com p=reject"), "example.com", "spf?example.com", "temperror example.com reject by example.com (spf example.com)"},
		{"SPF of a subdomain", records("example.com p=reject"), "example.com", "spf?b.example.com", "temperror example.com reject by example.com (spf b.example.com)"},
		{"SPF of a subdomain, and strict alignment", records("example.com p=reject; aspf=s"), "example.com", "spf?b.example.com", "fail example.com reject by example.com"},
		{"SPF, but DKIM passes", records("example.com p=reject"), "example.com", "spf?example.com dkim:example.com", "pass example.com reject by example.com (dkim example.com)"},
		{"a key of another domain", records("example.com p=reject"), "example.com", "dkim?evil.example spf:evil.example", "fail example.com reject by example.com"},
		{"records of another domain", records("example.com p=reject", "!SERVFAIL evil.example"), "example.com", "dkim:evil.example", "fail example.com reject by example.com"},
		{"alignment of a pass", zone, "example.com", "dkim:a.example.com", "temperror example.com reject by example.com"},
		{"alignment of a failure", zone, "example.com", "dkim!a.example.com", "fail example.com reject by example.com"},
		{"alignment of a pass, but another pass aligns", zone, "example.com", "dkim:a.example.com spf:b.example.com", "pass example.com reject by example.com (spf b.example.com)"},
		{"existence", records("example.com p=none; np=reject") + "!SERVFAIL a.example.com\n", "a.example.com", "", "temperror a.example.com none by example.com"},
		{"existence by A, no answer for MX", records("example.com p=none; np=reject") + "a.example.com A 192.0.2.1\n!SERVFAIL a.example.com MX\n",
			"a.example.com", "", "fail a.example.com none by example.com"},
		{"existence by MX, no answer for A", records("example.com p=none; np=reject") + "a.example.com MX 10 mx.example.com.\n!SERVFAIL a.example.com A\n",
			"a.example.com", "", "fail a.example.com none by example.com"},
		{"existence, no answer for A alone", records("example.com p=none; np=reject") + "!SERVFAIL a.example.com A\n",
			"a.example.com", "", "temperror a.example.com none by example.com"},
		{"existence does not matter", records("example.com p=reject") + "!SERVFAIL a.example.com\n", "a.example.com", "", "fail a.example.com reject by example.com"},
	})
}
