package all_test

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/checktest"
	"milterd/checks/facts"
	"milterd/headers"
)

// The hosts of the situations by name: address and domain of their names. All have PTR records, and all but "elsewhere" and
// "outbound" are in the SPF record of their domain.
var hosts = map[string]struct{ address, domain string }{
	"bank":      {"11.0.1.9", "bank.example"},
	"shop":      {"11.0.2.9", "shop.example"},
	"club":      {"11.0.3.9", "club.example"},
	"free":      {"11.0.4.9", "free.example"},
	"corp":      {"11.0.5.9", "corp.example"},
	"narrow":    {"11.0.6.9", "narrow.example"},
	"provider":  {"11.0.7.9", "provider.example"},
	"forwarder": {"11.0.8.9", "forwarder.example"},
	"list":      {"11.0.9.9", "list.example"},
	"evil":      {"11.0.10.9", "evil.example"},
	"elsewhere": {"11.0.11.9", "elsewhere.example"},
	"idn":       {"11.0.12.9", "xn--bcher-kva.example"},
	"broken":    {"11.0.13.9", "broken.example"},
	"outbound":  {"11.0.14.9", "out.bank.example"},
}

var situationKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// situationZone returns the DNS of the situations.
func situationZone() string {
	var b strings.Builder
	public := base64.StdEncoding.EncodeToString(situationKey.Public().(ed25519.PublicKey))
	for _, h := range hosts {
		addr := netip.MustParseAddr(h.address).As4()
		fmt.Fprintf(&b, "%d.%d.%d.%d.in-addr.arpa PTR mail.%s\n", addr[3], addr[2], addr[1], addr[0], h.domain)
		fmt.Fprintf(&b, "mail.%s A %s\n%[1]s MX 10 mail.%[1]s\n", h.domain, h.address)
		fmt.Fprintf(&b, "s._domainkey.%s TXT \"v=DKIM1; k=ed25519; p=%s\"\n", h.domain, public)
		if h.domain != "elsewhere.example" && h.domain != "out.bank.example" {
			fmt.Fprintf(&b, "%s TXT \"v=spf1 ip4:%s -all\"\nmail.%[1]s TXT \"v=spf1 a -all\"\n", h.domain, h.address)
		}
	}
	b.WriteString(`
_dmarc.bank.example TXT "v=DMARC1; p=reject; rua=mailto:d@bank.example"
_dmarc.shop.example TXT "v=DMARC1; p=quarantine"
_dmarc.club.example TXT "v=DMARC1; p=none"
_dmarc.corp.example TXT "v=DMARC1; p=reject; sp=none; np=reject"
_dmarc.narrow.example TXT "v=DMARC1; p=reject; aspf=s; adkim=s"
_dmarc.xn--bcher-kva.example TXT "v=DMARC1; p=reject"
!SERVFAIL _dmarc.broken.example
parked.example MX 0 .
parked.example TXT "v=spf1 -all"
_dmarc.parked.example TXT "v=DMARC1; p=reject"
dev.corp.example MX 10 mail.corp.example
news.shop.example MX 10 mail.provider.example
news.shop.example TXT "v=spf1 ip4:11.0.7.9 -all"
sub.narrow.example MX 10 mail.narrow.example
sub.narrow.example TXT "v=spf1 ip4:11.0.6.9 -all"
`)
	return b.String()
}

// situation is a message, and what is found out about it.
type situation struct {
	name    string
	host    string              // the client, one of hosts; or an address
	helo    string              // empty: the name of the host
	from    string              // MAIL FROM
	author  string              // From field
	header  string              // further fields, each with \n
	sign    []string            // domains of signatures
	footer  bool                // the body is changed after signing
	known   known               // to this site, by the evidence
	rcpt    string              // empty: user@example.org
	zone    string              // further records
	asked   *checktest.Recorder // records the questions, if not nil
	slow    string              // domain below which the DNS takes five seconds to answer
	second  string              // another recipient; its reply is in want.second
	results string              // spf, dkim, dmarc
	safe    string              // reply and reasons of spf, dkim, dmarc and author
	strict  string
}

// known are the good senders and the relays that the evidence names.
type known struct{ good, relay string }

func (k known) IsGood(domain string) bool { return domain == k.good || domain == k.relay }
func (k known) Relays(domain string) bool { return domain == k.relay }
func (k known) Unread() error             { return nil }

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

// play plays the session and returns the results of authentication, and the reply with the reasons.
func (s situation) play(t *testing.T, profile checks.Profile) (results, decision string) {
	t.Helper()
	p := situationPipeline(t, profile, s)
	session := &checks.Session{ID: "test", Time: time.Now()}
	host, ok := hosts[s.host]
	if !ok {
		host.address, host.domain = s.host, "proxy.example"
	}
	session.Client = netip.MustParseAddr(host.address)
	run := p.NewRun(session)
	judge := func(st checks.Stage) checks.Decision { return run.Judge(t.Context(), st) }
	judge(checks.Connect)
	session.SetHelo(cmp.Or(s.helo, "mail."+host.domain), false)
	judge(checks.Helo)
	session.Envelope.MailFrom = checks.ParseAddress(s.from)
	judge(checks.MailFrom)
	rcpt := s.rcpt
	if rcpt == "" {
		rcpt = "user@example.org"
	}
	session.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(rcpt)}}
	d := judge(checks.RcptTo)
	if s.second != "" {
		session.Envelope.Rcpts = append(session.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress("other@example.org")})
		if second := judge(checks.RcptTo); described(second) != s.second {
			t.Errorf("the second recipient: %q, want %q", described(second), s.second)
		}
	}
	fields, body := s.message(t)
	session.Envelope.Header = fields
	if d.Reply == nil {
		judge(checks.EndOfHeader)
	}
	if w := run.BeginBody(); w != nil {
		_, _ = io.WriteString(w, body)
	}
	if d.Reply == nil {
		d = judge(checks.EndOfMessage)
	}
	found := map[string][]string{}
	for _, a := range run.Authenticate(t.Context()) {
		found[a.Method] = append(found[a.Method], a.Result)
	}
	for _, method := range []string{"spf", "dkim", "dmarc"} {
		results += " " + method + "=" + strings.Join(found[method], ",")
	}
	return strings.TrimSpace(results), described(d)
}

// described returns the reply with its reason, and the other reasons of the checks of authentication with their actions, the most
// severe first.
func described(d checks.Decision) string {
	text := "accept"
	if d.Reply != nil {
		text = fmt.Sprintf("%d %s", d.Reply.Code, d.Reason.ID)
	}
	others := slices.DeleteFunc(slices.Clone(d.Outcomes), func(o checks.Outcome) bool {
		return o.Reason == d.Reason || !slices.Contains([]string{"spf", "dkim", "dmarc", "author"}, o.Check)
	})
	slices.SortFunc(others, func(a, b checks.Outcome) int {
		return cmp.Or(cmp.Compare(b.Action, a.Action), strings.Compare(a.Reason.ID, b.Reason.ID))
	})
	for _, o := range others {
		text += " " + o.Action.String() + ":" + o.Reason.ID
	}
	return text
}

// message returns the fields and the body, signed.
func (s situation) message(t *testing.T) ([]headers.Field, string) {
	t.Helper()
	text := s.header + "From: " + s.author + "\nTo: user@example.org\nSubject: hello\nDate: " + time.Now().Format(time.RFC1123Z) +
		"\nMessage-ID: <1@" + strings.ReplaceAll(s.name, " ", "-") + ".example>\n\nHello\n"
	text = strings.ReplaceAll(strings.ReplaceAll(text, ",-", "-"), "\n", "\r\n")
	for _, domain := range slices.Backward(s.sign) {
		var signed bytes.Buffer
		opts := &dkim.SignOptions{Domain: domain, Selector: "s", Signer: situationKey, HeaderKeys: []string{"From", "To", "Subject", "Date"}}
		if err := dkim.Sign(&signed, strings.NewReader(text), opts); err != nil {
			t.Fatal(err)
		}
		text = signed.String()
	}
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	if s.footer {
		body += "-- \r\nTalk mailing list\r\n"
	}
	var fields []headers.Field
	for line := range strings.SplitSeq(head, "\r\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			fields[len(fields)-1].Value += "\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, headers.Field{Name: name, Value: value})
	}
	return fields, body
}

// situationPipeline returns a pipeline of all checks with their default settings.
func situationPipeline(t *testing.T, profile checks.Profile, s situation) *checks.Pipeline {
	t.Helper()
	env := checktest.Env(t, situationZone()+s.zone)
	if s.asked != nil {
		s.asked.Resolver = env.DNS
		env.DNS = s.asked
	}
	var announce checks.Announcer
	if s.slow != "" {
		slow := &slowly{Resolver: env.DNS, below: s.slow, asked: map[checks.Question]time.Time{}}
		env.DNS, announce = slow, slow
	}
	env.Store = checktest.NewStore(time.Now)
	env.Signatures, env.Senders = 5, s.known
	opts := checks.Options{
		Actions: map[string]checks.Action{}, ReplyAt: checks.RcptTo, Budget: 8 * time.Second, Store: env.Store, Announce: announce,
		Body: func(r *checks.Request) io.Writer { return facts.Body(env, r) },
	}
	var instances []checks.Instance
	for _, info := range all.Checks {
		c, err := info.New(func(any) error { return nil }, env)
		if err != nil {
			t.Fatal(err)
		}
		instances = append(instances, checks.Instance{Info: info, Check: c})
		for _, r := range info.Reasons {
			opts.Actions[r.ID] = profile.Action(r)
		}
	}
	for _, id := range []string{"first-contact", "callout-rejected", "callout-unreachable", "callout-pending"} {
		opts.Actions[id] = checks.Off // they are not about authentication
	}
	forwarded, err := checks.ParseRecipients([]string{"@forwarded.example.org"})
	exempt, errOther := checks.ParseRecipients([]string{"postmaster"})
	if err != nil || errOther != nil {
		t.Fatal(err, errOther)
	}
	opts.Exempt, opts.Policies = exempt, []checks.Policy{{
		Recipients: forwarded, Actions: opts.Actions,
		Forwarders: checks.Forwarders{Networks: []netip.Prefix{netip.MustParsePrefix(hosts["forwarder"].address + "/32")}},
	}}
	p, err := checks.New(instances, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
