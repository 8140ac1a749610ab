package all_test

import (
	"testing"

	"milterd/checks"
)

const listMarks = "List-Id: <talk.list.example>\nList-Post: <mailto:talk@list.example>\n"

// situations are kinds of mail as sites get it. The host "forwarder" is a forwarder of user@forwarded.example.org.
var situations = []situation{
	{name: "direct, with SPF and DKIM", host: "bank", from: "a@bank.example", author: "a@bank.example", sign: []string{"bank.example"},
		results: "spf=pass dkim=pass dmarc=pass", safe: "accept", strict: "accept"},
	{name: "direct, with SPF alone", host: "bank", from: "a@bank.example", author: "a@bank.example",
		results: "spf=pass dkim=none dmarc=pass", safe: "accept", strict: "accept"},
	{name: "direct, from a host that is not in the SPF record", host: "elsewhere", from: "a@bank.example", author: "a@bank.example", sign: []string{"bank.example"},
		results: "spf=fail dkim=pass dmarc=pass", safe: "accept", strict: "accept"},
	{name: "a subdomain signs", host: "bank", from: "a@bank.example", author: "a@mail.bank.example", sign: []string{"bank.example"},
		results: "spf=pass dkim=pass dmarc=pass", safe: "accept", strict: "accept"},
	{name: "a changed body, SPF passes", host: "bank", from: "a@bank.example", author: "a@bank.example", sign: []string{"bank.example"}, footer: true,
		results: "spf=pass dkim=fail dmarc=pass", safe: "accept watch:dkim-fail", strict: "accept watch:dkim-fail"},

	{name: "forged, p=reject", host: "evil", from: "x@evil.example", author: "a@bank.example",
		results: "spf=pass dkim=none dmarc=fail", safe: "550 dmarc-reject", strict: "550 dmarc-reject"},
	{name: "forged with a signature of the forger", host: "evil", from: "x@evil.example", author: "a@bank.example", sign: []string{"evil.example"},
		results: "spf=pass dkim=pass dmarc=fail", safe: "550 dmarc-reject", strict: "550 dmarc-reject"},
	{name: "forged, p=quarantine", host: "evil", from: "x@evil.example", author: "a@shop.example",
		results: "spf=pass dkim=none dmarc=fail", safe: "accept tag:dmarc-quarantine", strict: "accept quarantine:dmarc-quarantine"},
	{name: "forged, p=none", host: "evil", from: "x@evil.example", author: "a@club.example",
		results: "spf=pass dkim=none dmarc=fail", safe: "accept", strict: "accept watch:dmarc-fail"},
	{name: "forged, no record", host: "evil", from: "x@evil.example", author: "a@free.example",
		results: "spf=pass dkim=none dmarc=none", safe: "accept", strict: "accept watch:from-unaligned"},
	{name: "forged in the envelope too", host: "evil", from: "a@bank.example", author: "a@bank.example",
		results: "spf=fail dkim=none dmarc=fail", safe: "550 dmarc-reject greylist:spf-fail watch:auth-none", strict: "550 spf-fail"},
	{name: "a parked domain in the envelope", host: "evil", from: "a@parked.example", author: "a@parked.example",
		results: "spf=fail dkim=none dmarc=fail", safe: "550 sender-null-mx", strict: "550 sender-null-mx"},
	{name: "a parked domain in From", host: "evil", from: "x@evil.example", author: "a@parked.example",
		results: "spf=pass dkim=none dmarc=fail", safe: "550 dmarc-reject", strict: "550 dmarc-reject"},
	{name: "a second author to evade the policy of the first", host: "evil", from: "x@evil.example", author: "a@bank.example, x@evil.example",
		results: "spf=pass dkim=none dmarc=fail", safe: "550 dmarc-reject", strict: "550 dmarc-reject"},
	{name: "a second author behind an open quote", host: "evil", from: "x@evil.example", author: `a@bank.example, "oops <x@evil.example>`,
		results: "spf=pass dkim=none dmarc=fail", safe: "550 dmarc-reject", strict: "550 from-lax"},
	{name: "a forger without an answer for its names, which the SPF record wants", host: "evil", from: "a@named.example", author: "a@named.example",
		zone:    "!SERVFAIL 9.10.0.11.in-addr.arpa\nnamed.example TXT \"v=spf1 ptr -all\"\n_dmarc.named.example TXT \"v=DMARC1; p=reject\"\nnamed.example MX 10 mail.bank.example\n",
		results: "spf=temperror dkim=none dmarc=fail", safe: "450 dmarc-reject", strict: "451 spf-temperror"},
	{name: "many authors to evade the policy of the first", host: "evil", from: "x@evil.example", author: "a@bank.example, a@a.example, a@b.example, a@c.example, a@d.example, a@e.example",
		results: "spf=pass dkim=none dmarc=fail", safe: "550 dmarc-reject", strict: "550 dmarc-reject"},
	{name: "two authors of one domain", host: "bank", from: "a@bank.example", author: "a@bank.example, b@bank.example",
		results: "spf=pass dkim=none dmarc=pass", safe: "accept", strict: "accept"},

	{name: "forwarded without SRS, signed", host: "forwarder", from: "a@bank.example", author: "a@bank.example", sign: []string{"bank.example"},
		results: "spf=fail dkim=pass dmarc=pass", safe: "accept", strict: "accept"},
	{name: "forwarded with SRS, signed", host: "forwarder", from: "SRS0=x=y=bank.example=a@forwarder.example", author: "a@bank.example", sign: []string{"bank.example"},
		results: "spf=pass dkim=pass dmarc=pass", safe: "accept", strict: "accept"},
	{name: "forwarded without SRS, not signed", host: "forwarder", from: "a@bank.example", author: "a@bank.example",
		results: "spf=fail dkim=none dmarc=fail", safe: "550 dmarc-reject greylist:spf-fail watch:auth-none", strict: "550 spf-fail"},
	{name: "forwarded without SRS, no record", host: "forwarder", from: "a@free.example", author: "a@free.example",
		results: "spf=fail dkim=none dmarc=none", safe: "451 greylisted greylist:spf-fail watch:auth-none", strict: "550 spf-fail"},
	{name: "forwarded with SRS, changed", host: "forwarder", from: "SRS0=x=y=bank.example=a@forwarder.example", author: "a@bank.example", sign: []string{"bank.example"}, footer: true,
		results: "spf=pass dkim=fail dmarc=fail", safe: "550 dmarc-reject watch:dkim-fail", strict: "550 dmarc-reject watch:dkim-fail"},
	{name: "forwarded by the recipient's forwarder", host: "forwarder", from: "a@bank.example", author: "a@bank.example", rcpt: "user@forwarded.example.org",
		results: "spf=fail dkim=none dmarc=fail", safe: "accept watch:dmarc-indirect", strict: "451 greylisted greylist:dmarc-indirect"},
	{name: "forwarded by the recipient's forwarder, no record", host: "forwarder", from: "a@free.example", author: "a@free.example", rcpt: "user@forwarded.example.org",
		results: "spf=fail dkim=none dmarc=none", safe: "accept", strict: "accept"},

	{name: "forwarded with SRS, changed, by a known relay", host: "forwarder", from: "SRS0=x=y=bank.example=a@forwarder.example", author: "a@bank.example", sign: []string{"bank.example"}, footer: true,
		known: known{relay: "forwarder.example"}, results: "spf=pass dkim=fail dmarc=fail", safe: "accept watch:dkim-fail watch:dmarc-indirect", strict: "accept greylist:dmarc-indirect watch:dkim-fail"},
	{name: "forwarded without SRS, no record, by a known relay", host: "forwarder", from: "a@free.example", author: "a@free.example",
		known: known{relay: "forwarder.example"}, results: "spf=fail dkim=none dmarc=none", safe: "451 greylisted greylist:spf-fail", strict: "550 spf-fail"},

	{name: "a list that leaves messages as they are", host: "list", from: "b@list.example", author: "a@bank.example", header: listMarks, sign: []string{"bank.example"},
		results: "spf=pass dkim=pass dmarc=pass", safe: "accept", strict: "accept"},
	{name: "a list that puts itself into From", host: "list", from: "b@list.example", author: "Ann via Talk <talk@list.example>", header: listMarks, sign: []string{"list.example"},
		results: "spf=pass dkim=pass dmarc=none", safe: "accept", strict: "accept"},
	{name: "an unknown list with a footer", host: "list", from: "b@list.example", author: "a@bank.example", header: listMarks, sign: []string{"bank.example"}, footer: true,
		results: "spf=pass dkim=fail dmarc=fail", safe: "accept tag:dmarc-list watch:dkim-fail", strict: "accept quarantine:dmarc-list watch:dkim-fail"},
	{name: "a known list with a footer", host: "list", from: "b@list.example", author: "a@bank.example", header: listMarks, sign: []string{"bank.example"}, footer: true,
		known: known{good: "list.example"}, results: "spf=pass dkim=fail dmarc=fail", safe: "accept watch:dkim-fail watch:dmarc-indirect", strict: "accept greylist:dmarc-indirect watch:dkim-fail"},
	{name: "a forger with the fields of a list", host: "evil", from: "x@evil.example", author: "a@bank.example", header: listMarks,
		results: "spf=pass dkim=none dmarc=fail", safe: "550 dmarc-reject", strict: "550 dmarc-reject"},

	{name: "a bounce from the domain's host", host: "bank", from: "<>", author: "Mail Delivery <MAILER-DAEMON@bank.example>",
		results: "spf=pass dkim=none dmarc=pass", safe: "accept", strict: "accept"},
	{name: "a bounce without author", host: "elsewhere", from: "<>", author: "MAILER-DAEMON <>",
		results: "spf=none dkim=none dmarc=none", safe: "accept watch:auth-none", strict: "accept watch:auth-none"},
	{name: "a vacation reply from the domain's host", host: "bank", from: "<>", author: "a@bank.example", header: "Auto-Submitted: auto-replied\n",
		results: "spf=pass dkim=none dmarc=pass", safe: "accept", strict: "accept"},
	{name: "a vacation reply from a host without SPF", host: "elsewhere", from: "<>", author: "a@bank.example", header: "Auto-Submitted: auto-replied\n", sign: []string{"bank.example"},
		results: "spf=none dkim=pass dmarc=pass", safe: "accept", strict: "accept"},
	{name: "a calendar invitation that an attendee passes on", host: "shop", from: "b@shop.example", author: "a@bank.example", sign: []string{"shop.example"},
		results: "spf=pass dkim=pass dmarc=fail", safe: "550 dmarc-reject", strict: "550 dmarc-reject"},

	{name: "a newsletter, signed by the customer's domain", host: "provider", from: "b@provider.example", author: "news@shop.example", sign: []string{"shop.example", "provider.example"},
		results: "spf=pass dkim=pass,pass dmarc=pass", safe: "accept", strict: "accept"},
	{name: "a newsletter, the sender address in a subdomain of the customer", host: "provider", from: "b@news.shop.example", author: "news@shop.example",
		results: "spf=pass dkim=none dmarc=pass", safe: "accept", strict: "accept"},
	{name: "a newsletter, signed by the provider alone", host: "provider", from: "b@provider.example", author: "news@shop.example", sign: []string{"provider.example"},
		results: "spf=pass dkim=pass dmarc=fail", safe: "accept tag:dmarc-quarantine", strict: "accept quarantine:dmarc-quarantine"},

	{name: "a subdomain, sp=none", host: "evil", from: "x@evil.example", author: "a@dev.corp.example",
		results: "spf=pass dkim=none dmarc=fail", safe: "accept", strict: "accept watch:dmarc-fail"},
	{name: "a subdomain that does not exist, np=reject", host: "evil", from: "x@evil.example", author: "a@gone.corp.example",
		results: "spf=pass dkim=none dmarc=fail", safe: "550 dmarc-reject", strict: "550 dmarc-reject"},
	{name: "strict alignment, a subdomain in the envelope", host: "narrow", from: "a@sub.narrow.example", author: "a@narrow.example",
		results: "spf=pass dkim=none dmarc=fail", safe: "550 dmarc-reject", strict: "550 dmarc-reject"},
	{name: "U-labels in From", host: "evil", from: "x@evil.example", author: "a@bücher.example",
		results: "spf=pass dkim=none dmarc=fail", safe: "550 dmarc-reject", strict: "550 dmarc-reject"},
	{name: "nothing passes, no record", host: "elsewhere", from: "a@elsewhere.example", author: "a@elsewhere.example",
		results: "spf=none dkim=none dmarc=none", safe: "accept watch:auth-none", strict: "550 auth-none"},
	{name: "forged, with a signature whose key nobody can ask for", host: "evil", from: "x@evil.example", author: "a@bank.example", sign: []string{"bank.example"},
		zone: "!SERVFAIL s._domainkey.bank.example\n", results: "spf=pass dkim=temperror dmarc=temperror", safe: "accept", strict: "accept"},
	{name: "forged, with another body than signed and a key nobody can ask for", host: "evil", from: "x@evil.example", author: "a@bank.example", sign: []string{"bank.example"}, footer: true,
		zone: "!SERVFAIL s._domainkey.bank.example\n", results: "spf=pass dkim=fail dmarc=fail", safe: "550 dmarc-reject watch:dkim-fail", strict: "550 dmarc-reject watch:dkim-fail"},
	{name: "a subdomain with np=, and no answer whether it exists", host: "evil", from: "x@evil.example", author: "a@lost.corp.example",
		zone: "!SERVFAIL lost.corp.example\n", results: "spf=pass dkim=none dmarc=temperror", safe: "accept", strict: "accept"},
	{name: "a subdomain with sp= and np=, and no answer whether it exists", host: "evil", from: "x@evil.example", author: "a@lost.both.example",
		zone:    "!SERVFAIL lost.both.example\n_dmarc.both.example TXT \"v=DMARC1; p=reject; sp=quarantine; np=reject\"\n",
		results: "spf=pass dkim=none dmarc=fail", safe: "accept tag:dmarc-quarantine", strict: "accept quarantine:dmarc-quarantine"},
	{name: "a bounce from the domain's host, without SPF for its HELO name", host: "outbound", from: "<>", author: "MAILER-DAEMON@bank.example",
		results: "spf=none dkim=none dmarc=fail", safe: "550 dmarc-reject watch:auth-none", strict: "550 dmarc-reject watch:auth-none"},
	{name: "no answer for the policy", host: "evil", from: "x@evil.example", author: "a@broken.example",
		results: "spf=pass dkim=none dmarc=temperror", safe: "accept", strict: "accept"},
	{name: "a client behind a proxy", host: "10.1.2.3", from: "x@evil.example", author: "a@bank.example",
		results: "spf= dkim=none dmarc=", safe: "accept", strict: "accept"},
	{name: "postmaster", host: "evil", from: "x@evil.example", author: "a@bank.example", rcpt: "postmaster@example.org",
		results: "spf=pass dkim=none dmarc=fail", safe: "accept", strict: "accept"},
	{name: "Bcc to a user with a forwarder, and to one without", host: "forwarder", from: "SRS0=x=y=bank.example=a@forwarder.example", author: "a@bank.example", sign: []string{"bank.example"},
		rcpt: "user@forwarded.example.org", second: "452 policies-differ",
		results: "spf=pass dkim=pass dmarc=pass", safe: "accept", strict: "accept"},
}

// TestSituations plays each situation in the profiles safe and strict.
func TestSituations(t *testing.T) {
	t.Parallel()
	if len(situations) < 30 {
		t.Errorf("%d situations", len(situations))
	}
	for _, s := range situations {
		for _, profile := range []checks.Profile{checks.Safe, checks.Strict} {
			t.Run(s.name+"/"+profile.String(), func(t *testing.T) {
				t.Parallel()
				want := map[checks.Profile]string{checks.Safe: s.safe, checks.Strict: s.strict}[profile]
				results, got := s.play(t, profile)
				if got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if results != s.results {
					t.Errorf("got %q, want %q", results, s.results)
				}
			})
		}
	}
}
