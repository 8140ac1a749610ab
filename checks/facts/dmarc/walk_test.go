package dmarc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"milterd/checks/checktest"
	"milterd/checks/facts/dmarc"
)

// asked returns the domains whose records were asked for, sorted, without the label _dmarc.
func asked(rec *checktest.Recorder) []string {
	var list []string
	for _, q := range rec.Asked() {
		if domain, ok := strings.CutPrefix(q, "_dmarc."); ok {
			list = append(list, strings.TrimSuffix(domain, ". TXT"))
		}
	}
	slices.Sort(list)
	return list
}

// TestWalk tests which domains a walk without records asks about.
func TestWalk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ domain, want string }{
		{"example.com", "com example.com"},
		{"com", "com"},
		{"a.mail.example.com", "a.mail.example.com com example.com mail.example.com"},
		{"a.b.c.d.e.f.example.com", "a.b.c.d.e.f.example.com b.c.d.e.f.example.com c.d.e.f.example.com com d.e.f.example.com e.f.example.com example.com f.example.com"},
		// The example of section 4.10.
		{"a.b.c.d.e.f.g.h.i.j.mail.example.com",
			"a.b.c.d.e.f.g.h.i.j.mail.example.com com example.com g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com mail.example.com"},
	} {
		t.Run(c.domain, func(t *testing.T) {
			t.Parallel()
			rec := &checktest.Recorder{Resolver: checktest.NewZone(t, "")}
			if e, err := dmarc.NewTree(rec).Evaluate(t.Context(), []string{c.domain}, nil); e.Result != dmarc.None || err != nil {
				t.Errorf("%+v, %v", e, err)
			}
			if got := strings.Join(asked(rec), " "); got != c.want {
				t.Errorf("asked %s\nwant  %s", got, c.want)
			}
			var prefetched []string
			for _, q := range dmarc.Prefetch([]string{c.domain}, nil) {
				prefetched = append(prefetched, q.String())
			}
			slices.Sort(prefetched)
			if !slices.Equal(prefetched, rec.Asked()) {
				t.Errorf("prefetched %s, asked %s", prefetched, rec.Asked())
			}
		})
	}
}

// records returns a zone with DMARC records, from "domain policy..." lines.
func records(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		domain, tags, _ := strings.Cut(line, " ")
		if strings.HasPrefix(domain, "!") {
			fmt.Fprintf(&b, "%s _dmarc.%s\n", domain, tags)
			continue
		}
		fmt.Fprintf(&b, "_dmarc.%s TXT \"v=DMARC1; %s\"\n", domain, tags)
	}
	return b.String()
}

func TestAligned(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		zone string
		a, b string
		want bool
		fail bool // the DNS does not answer
	}{
		{"equal", "", "example.com", "example.com", true, false},
		{"one empty", "", "example.com", "", false, false},
		{"both empty", "", "", "", false, false},
		{"different domains", records("example.com p=none", "example.net p=none"), "example.com", "example.net", false, false},

		{"the record above", records("example.com p=none"), "a.example.com", "b.example.com", true, false},
		{"the record with the fewest labels", records("example.com p=none", "mail.example.com p=none"), "a.mail.example.com", "example.com", true, false},
		{"psd=n between", records("example.com p=none", "mail.example.com p=none; psd=n"), "a.mail.example.com", "example.com", false, false},
		{"both below psd=n", records("example.com p=none", "mail.example.com p=none; psd=n"), "a.mail.example.com", "b.mail.example.com", true, false},
		{"the other below psd=n", records("example.com p=none", "mail.example.com p=none; psd=n"), "example.com", "a.mail.example.com", false, false},
		{"two below psd=y", records("bank.example p=none; psd=y"), "giant.bank.example", "mega.bank.example", false, false},
		{"one organisation below psd=y", records("bank.example p=none; psd=y"), "giant.bank.example", "mail.giant.bank.example", true, false},
		{"a domain with psd=y itself", records("bank.example p=none; psd=y"), "bank.example", "giant.bank.example", false, false},
		{"only the top-level domain has a record", records("com p=none; psd=y"), "a.mail.example.com", "example.com", true, false},
		{"a private suffix with a record", records("blogspot.com p=none"), "a.blogspot.com", "b.blogspot.com", true, false},
		{"a public suffix with a record without psd=y", records("co.uk p=none"), "a.co.uk", "b.co.uk", false, false},
		{"a CNAME record", "_dmarc.example.com CNAME policy.example.net\npolicy.example.net TXT \"v=DMARC1; p=none; psd=n\"", "a.example.com", "example.com", true, false},
		{"an invalid record does not count", records("example.com p=none", "mail.example.com p=nothing; psd=n"), "a.mail.example.com", "example.com", true, false},

		{"no record: by the list", "", "a.example.com", "example.com", true, false},
		{"no record: two names of a suffix", "", "a.co.uk", "b.co.uk", false, false},
		{"no record: two names of a private suffix", "", "a.blogspot.com", "b.blogspot.com", false, false},
		{"no record: a suffix and a name below it", "", "co.uk", "a.co.uk", false, false},
		{"names that cannot be asked for", "", "a b.example.com", "example.com", false, false},

		{"an answer is missing", records("!SERVFAIL example.com"), "a.example.com", "example.com", false, true},
		{"an answer for the other is missing", records("example.com p=none", "!SERVFAIL a.example.com"), "example.com", "a.example.com", false, true},
		{"an answer for a stranger is missing", records("example.com p=none", "!SERVFAIL example.net"), "example.com", "example.net", false, false},
		{"no answer from the registry", records("example.com p=none", "!SERVFAIL com"), "a.example.com", "example.com", true, false},
		{"no answer above psd=n", records("!SERVFAIL example.com", "mail.example.com p=none; psd=n"), "a.mail.example.com", "mail.example.com", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			zone := checktest.NewZone(t, c.zone)
			for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
				got, err := dmarc.NewTree(zone).Aligned(t.Context(), pair[0], pair[1])
				if got != c.want || (err != nil) != c.fail {
					t.Errorf("%q and %q: %t, %v", pair[0], pair[1], got, err)
				}
			}
		})
	}
}

// TestStranger tests that no question is asked for domains that cannot align, whoever chose them.
func TestStranger(t *testing.T) {
	t.Parallel()
	rec := &checktest.Recorder{Resolver: checktest.NewZone(t, records("example.com p=reject"))}
	var ids []dmarc.Identifier
	for _, domain := range []string{"evil.example", "a.b.c.evil.example", "notexample.com", "com", "x y.example.net", ""} {
		ids = append(ids, dmarc.Identifier{Method: "dkim", Domain: domain, State: dmarc.Passed}, dmarc.Identifier{Method: "spf", Domain: domain, State: dmarc.Unknown})
	}
	e, err := dmarc.NewTree(rec).Evaluate(t.Context(), []string{"example.com"}, ids)
	if e.Result != dmarc.Fail || err != nil {
		t.Errorf("%+v, %v", e, err)
	}
	if got := asked(rec); !slices.Equal(got, []string{"example.com"}) {
		t.Errorf("asked for %s", got)
	}
}

// TestPrefetch tests that Evaluate asks nothing that is not prefetched but whether a domain exists, and that only related
// identifiers are.
func TestPrefetch(t *testing.T) {
	t.Parallel()
	zone := records("example.com p=reject; np=none", "example.net p=reject")
	authors := []string{"news.example.com", "example.net"}
	identifiers := []string{"a.mail.example.com", "example.com", "bounce.example.net", "evil.example", "news.example.com"}
	rec := &checktest.Recorder{Resolver: checktest.NewZone(t, zone)}
	var ids []dmarc.Identifier
	for _, domain := range identifiers {
		ids = append(ids, dmarc.Identifier{Method: "dkim", Domain: domain, State: dmarc.Failed})
	}
	if e, err := dmarc.NewTree(rec).Evaluate(t.Context(), authors, ids); e.Result != dmarc.Fail || err != nil {
		t.Errorf("%+v, %v", e, err)
	}
	var prefetched []string
	for _, q := range dmarc.Prefetch(authors, identifiers) {
		prefetched = append(prefetched, q.String())
	}
	if slices.ContainsFunc(prefetched, func(q string) bool { return strings.Contains(q, "evil") }) {
		t.Error(prefetched)
	}
	for _, q := range rec.Asked() {
		if strings.HasPrefix(q, "_dmarc.") && !slices.Contains(prefetched, q) {
			t.Errorf("%s was not prefetched", q)
		}
		if rec.Times(q) != 1 {
			t.Errorf("%s was asked %d times", q, rec.Times(q))
		}
	}
	if qs := dmarc.Prefetch([]string{"a.example", "b.example", "c.example", "d.example", "e.example", "f.example"}, nil); len(qs) != 6 {
		t.Errorf("six authors, of which five are evaluated: %v", qs)
	}
}
