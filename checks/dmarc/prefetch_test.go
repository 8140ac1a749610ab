package dmarc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dmarc"
)

// TestPrefetch tests that all questions of the check are prefetched, but those for names of a list.
func TestPrefetch(t *testing.T) {
	t.Parallel()
	zone := environment(t, nil)
	for _, m := range []message{
		{client: "192.0.2.66", from: "x@evil.example", header: "From: a@mail.bank.example\n", sign: "bank.example"},
		{client: "192.0.2.51", from: "<>", header: "From: a@free.example, b@shop.example\n"},
	} {
		rec, env := &checktest.Recorder{Resolver: zone.DNS}, zone
		env.DNS = rec
		c := checktest.Build[dmarc.Settings](t, dmarc.Info, env, nil)
		if _, err := c.Check(t.Context(), m.request(t, env)); err != nil {
			t.Fatal(err)
		}
		prefetched := checktest.Prefetched(t, c, zone.DNS, m.request(t, zone))
		prefetched = append(prefetched, "test._domainkey.bank.example. TXT") // by the check dkim
		for _, q := range rec.Asked() {
			if !slices.Contains(prefetched, q) {
				t.Errorf("%s was not prefetched; these were: %s", q, strings.Join(prefetched, ", "))
			}
		}
	}
}

// TestManySignatures tests that signatures which are not looked at cause no questions: a message has up to 100, each with a domain of its
// own, and the questions are asked one after the other.
func TestManySignatures(t *testing.T) {
	t.Parallel()
	env := environment(t, nil)
	rec := &checktest.Recorder{Resolver: env.DNS}
	env.DNS = rec
	header := "From: a@bank.example\n"
	for n := range 100 {
		header = fmt.Sprintf("DKIM-Signature: v=1; a=rsa-sha256; d=d%d.bank.example; s=k; h=from; bh=; b=\n", n) + header
	}
	c := checktest.Build[dmarc.Settings](t, dmarc.Info, env, nil)
	verdicts, err := checktest.Ask(t, dmarc.Info, c, message{client: "192.0.2.66", from: "x@evil.example", header: header}.request(t, env))
	if len(verdicts) != 1 || err != nil {
		t.Errorf("%v, %v", verdicts, err)
	}
	if n := len(rec.Asked()); n > 20 {
		t.Errorf("%d questions: %v", n, rec.Asked())
	}
}

// TestPrefetchAtMail tests that the record of the sender's domain is asked for before the header section is there.
func TestPrefetchAtMail(t *testing.T) {
	t.Parallel()
	env := environment(t, nil)
	c := checktest.Build[dmarc.Settings](t, dmarc.Info, env, nil)
	for from, want := range map[string]bool{"x@Mail.Bank.example": true, "<>": false} {
		r := message{client: "192.0.2.66", from: from, header: "From: a@shop.example\n"}.request(t, env)
		r.Stage = checks.MailFrom
		asks := slices.ContainsFunc(c.(checks.Prefetcher).Prefetch(r), func(q checks.Query) bool { return q.Name == "_dmarc.mail.bank.example." })
		if asks != want {
			t.Errorf("MAIL FROM %s: prefetched: %t", from, asks)
		}
	}
}
