package why

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/milter/records"
)

// TestAuthenticationAgain tests what the page says of a reason that a signature may have repaired.
func TestAuthenticationAgain(t *testing.T) {
	t.Parallel()
	p := &pages{Config: Config{Checks: all.Checks}, reasons: map[string]*checks.Reason{}}
	for _, r := range all.Reasons() {
		p.reasons[r.ID] = r
	}
	record := func(check, reason, from string) records.Record {
		return records.Record{
			Reason: reason, Client: netip.MustParseAddr("192.0.2.9"), Helo: "mail.bank.example", MailFrom: from,
			Outcomes: []records.Outcome{{Check: check, Reason: reason, Text: "was refused", Detail: map[string]string{"author_domain": "bank.example"}}},
		}
	}
	applies := func(check, reason string) []checks.Result {
		return []checks.Result{{Check: check, Outcomes: []checks.Outcome{{Check: check, Reason: p.reasons[reason], Action: checks.Reject}}}}
	}
	for _, c := range []struct {
		name          string
		from          string
		check, reason string
		now           []checks.Result
		state, line   string
		records       string
	}{
		{"DMARC fails without the signature", "x@bank.example", "dmarc", "dmarc-reject", applies("dmarc", "dmarc-reject"), unsigned, unsigned,
			`bank.example. IN TXT "v=spf1 mx ip4:192.0.2.9 -all"`},
		{"likewise, with a sender in a subdomain", "x@news.bank.example", "dmarc", "dmarc-reject", applies("dmarc", "dmarc-reject"), unsigned, unsigned,
			`news.bank.example. IN TXT "v=spf1 mx ip4:192.0.2.9 -all"`},
		{"likewise, a bounce", "", "dmarc", "dmarc-reject", applies("dmarc", "dmarc-reject"), unsigned, unsigned,
			`mail.bank.example. IN TXT "v=spf1 a ip4:192.0.2.9 -all"`},
		{"no record helps a sender of another domain", "x@example.net", "dmarc", "dmarc-reject", applies("dmarc", "dmarc-reject"), unsigned, unsigned, ""},
		{"SPF is that of the sender, not of From", "x@example.net", "dmarc", "auth-none", applies("dmarc", "auth-none"), wrong, wrong,
			`example.net. IN TXT "v=spf1 mx ip4:192.0.2.9 -all"`},
		{"DMARC passes by SPF", "x@bank.example", "dmarc", "dmarc-reject", []checks.Result{{Check: "dmarc"}}, repaired, repaired, ""},
		{"a signature", "x@example.net", "dkim", "dkim-fail", []checks.Result{{Check: "dkim"}}, unsigned, unsigned, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			res := p.compare(record(c.check, c.reason, c.from), c.now)
			if res.State != c.state || len(res.Lines) != 1 || res.Lines[0].State != c.line || strings.Join(res.Lines[0].Records, " ") != c.records {
				t.Errorf("%+v", res)
			}
		})
	}
}

// TestDetails tests that the page shows what was found of the authentication of a message, and nothing of other reasons.
func TestDetails(t *testing.T) {
	t.Parallel()
	rec := records.Record{Reason: "dmarc-reject", Outcomes: []records.Outcome{{Reason: "dmarc-reject", Detail: map[string]string{
		"author_domain": "bank.example", "spf": "fail for evil.example", "dkim": "fail for bank.example (the body was changed)",
		"aligned": "bank.example (DKIM)", "record": "v=DMARC1; p=reject", "passes": "",
	}}}}
	want := []detail{
		{"author_domain", "Domain in From", "bank.example"}, {"spf", "SPF", "fail for evil.example"}, {"dkim", "DKIM signatures", "fail for bank.example (the body was changed)"},
		{"aligned", "Would show the domain in From if it passed", "bank.example (DKIM)"}, {"record", "DMARC record", "v=DMARC1; p=reject"},
	}
	if got := details(rec); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := details(records.Record{Reason: "spf-fail", Outcomes: []records.Outcome{{Reason: "spf-fail", Detail: map[string]string{"spf": "fail"}}}}); got != nil {
		t.Errorf("spf-fail: %q", got)
	}
}
