package why

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

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
		{"DMARC fails without the signature", "x@bank.example", "dmarc", "dmarc-reject", applies("dmarc", "dmarc-reject"), stateUnsigned, stateUnsigned,
			`bank.example. IN TXT "v=spf1 mx ip4:192.0.2.9 -all"`},
		{"likewise, with a sender in a subdomain", "x@news.bank.example", "dmarc", "dmarc-reject", applies("dmarc", "dmarc-reject"), stateUnsigned, stateUnsigned,
			`news.bank.example. IN TXT "v=spf1 mx ip4:192.0.2.9 -all"`},
		{"likewise, a bounce", "", "dmarc", "dmarc-reject", applies("dmarc", "dmarc-reject"), stateUnsigned, stateUnsigned,
			`mail.bank.example. IN TXT "v=spf1 a ip4:192.0.2.9 -all"`},
		{"no record helps a sender of another domain", "x@example.net", "dmarc", "dmarc-reject", applies("dmarc", "dmarc-reject"), stateUnsigned, stateUnsigned, ""},
		{"SPF is that of the sender, not of From", "x@example.net", "dmarc", "auth-none", applies("dmarc", "auth-none"), stateWrong, stateWrong,
			`example.net. IN TXT "v=spf1 mx ip4:192.0.2.9 -all"`},
		{"DMARC passes by SPF", "x@bank.example", "dmarc", "dmarc-reject", []checks.Result{{Check: "dmarc"}}, stateRepaired, stateRepaired, ""},
		{"a signature", "x@example.net", "dkim", "dkim-fail", []checks.Result{{Check: "dkim"}}, stateUnsigned, stateUnsigned, ""},
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

// TestKnownFixes tests the records of repairs: those of the sender, not of another domain, and none with a name that is unknown.
func TestKnownFixes(t *testing.T) {
	t.Parallel()
	client := netip.MustParseAddr("192.0.2.9")
	ptr := []checks.Result{{Asked: []checks.Asked{
		{Question: checks.Ask("9.2.0.192.in-addr.arpa", dns.TypePTR), Answer: checks.Answer{Records: []dns.RR{&dns.PTR{Ptr: "Mail.example.com."}}}},
		{Question: checks.Ask("mail.example.com", dns.TypeA), Answer: checks.Answer{Records: []dns.RR{&dns.A{A: client.AsSlice()}}}},
	}}}
	policy := func(text string) []checks.Result {
		txt := &dns.TXT{Hdr: dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{text}}
		return []checks.Result{{Asked: []checks.Asked{{Question: checks.Ask("example.com", dns.TypeTXT), Answer: checks.Answer{Records: []dns.RR{txt}}}}}}
	}
	sender := records.Record{Client: client, MailFrom: "x@example.com"}
	bank := []records.Outcome{{Reason: "dmarc-reject", Detail: map[string]string{"author_domain": "bank.example"}}}
	for _, c := range []struct {
		name   string
		rec    records.Record
		now    []checks.Result
		repair checks.Repair
		want   string
	}{
		{"a PTR record", records.Record{Client: client, Helo: "mail.example.com"}, nil, checks.AddPTR,
			"9.2.0.192.in-addr.arpa. IN PTR mail.example.com. mail.example.com. IN A 192.0.2.9"},
		{"a PTR record that exists", records.Record{Client: client, Helo: "mail.example.com"}, ptr, checks.AddPTR, ""},
		{"a PTR record for a HELO name without a dot", records.Record{Client: client, Helo: "localhost"}, nil, checks.AddPTR, ""},
		{"an address record for such a name", records.Record{Client: client, Helo: "localhost"}, nil, checks.AddAddress, ""},
		{"a record for a client without an address", records.Record{Helo: "mail.example.com"}, nil, checks.AddAddress, ""},
		{"an MX record", records.Record{Client: client, MailFrom: "x@example.com"}, nil, checks.AddMX, "example.com. IN MX 10 mail.example.com."},
		{"an MX record for a name without a dot", records.Record{Client: client, MailFrom: "x@localhost"}, nil, checks.AddMX, ""},
		{"an SPF record for such a name", records.Record{Client: client, MailFrom: "x@localhost"}, nil, checks.AllowInSPF, ""},
		{"an SPF record, and a bounce with such a HELO name", records.Record{Client: client, Helo: "localhost"}, nil, checks.AllowInSPF, ""},
		{"an SPF record of the sender beside a reason about From", records.Record{Client: client, MailFrom: "x@example.com", Reason: "dmarc-reject", Outcomes: bank},
			policy("v=spf1 +all"), checks.ReplaceSPF, `example.com. IN TXT "v=spf1 mx ip4:192.0.2.9 -all"`},
		{"an SPF record with hosts that stay", sender, policy("v=spf1 A +ip4:198.51.100.7 ip4:203.0.113.0/24 ip6:2001:db8::/32 ?all"), checks.ReplaceSPF,
			`example.com. IN TXT "v=spf1 a ip4:198.51.100.7 ip4:203.0.113.0/24 ip6:2001:db8::/32 ip4:192.0.2.9 -all"`},
		{"an SPF record without a term", sender, policy("v=spf1"), checks.AllowInSPF, `example.com. IN TXT "v=spf1 ip4:192.0.2.9"`},
		{"an SPF record without a term, in upper case", sender, policy("V=SPF1"), checks.AllowInSPF, `example.com. IN TXT "v=spf1 ip4:192.0.2.9"`},
		{"a TXT record that is none of SPF", sender, policy("v=spf10"), checks.AllowInSPF, `example.com. IN TXT "v=spf1 mx ip4:192.0.2.9 -all"`},
		{"an SPF record with a wide network", sender, policy("v=spf1 mx ip4:0.0.0.0/0 -all"), checks.ReplaceSPF, ""},
		{"an SPF record with a provider that must stay", sender, policy("v=spf1 include:spf.provider.example +all"), checks.ReplaceSPF, ""},
		{"an SPF record with a host that may not send", sender, policy("v=spf1 -ip4:198.51.100.7 +all"), checks.ReplaceSPF, ""},
		{"an unknown SPF record", sender, nil, checks.ReplaceSPF, ""},
		{"an MX record of the sender beside a reason about From", records.Record{Client: client, MailFrom: "x@example.com", Reason: "dmarc-reject", Outcomes: bank},
			nil, checks.ReplaceMX, "example.com. IN MX 10 mail.example.com."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := repairFacts{values: newValues(c.rec, "mx.example.org"), results: c.now}.fix(c.repair)
			if got := strings.Join(f.Records, " "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
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
