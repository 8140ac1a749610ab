package dmarc_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dmarc"
	"milterd/checks/facts"
	"milterd/headers"
)

// zone has bank.example with p=reject, shop.example with quarantine, club.example with none, free.example without record, and the
// mailing list list.example. All have SPF records, and some a key for checktest.Sign. For the keys of domains that begin with lost there
// is no answer.
var zone = `
_dmarc.bank.example TXT "v=DMARC1; p=reject"
_dmarc.shop.example TXT "v=DMARC1; p=quarantine"
_dmarc.test.example TXT "v=DMARC1; p=reject; t=y"
_dmarc.club.example TXT "v=DMARC1; p=none"
!SERVFAIL _dmarc.broken.example
bank.example TXT "v=spf1 ip4:192.0.2.1 -all"
shop.example TXT "v=spf1 ip4:192.0.2.1 -all"
club.example TXT "v=spf1 ip4:192.0.2.1 -all"
free.example TXT "v=spf1 ip4:192.0.2.1 -all"
list.example TXT "v=spf1 ip4:192.0.2.50 -all"
evil.example TXT "v=spf1 ip4:192.0.2.66 -all"
wide.example TXT "v=spf1 +all"
co.uk TXT "v=spf1 ip4:192.0.2.68 -all"
_dmarc.wide.example TXT "v=DMARC1; p=reject"
!SERVFAIL down.example TXT
!SERVFAIL down.bank.example TXT
!SERVFAIL down.list.example TXT
50.2.0.192.in-addr.arpa PTR mail.list.example
mail.list.example A 192.0.2.50
51.2.0.192.in-addr.arpa PTR relay.forward.example
relay.forward.example A 192.0.2.51
!SERVFAIL 52.2.0.192.in-addr.arpa
53.2.0.192.in-addr.arpa PTR vps-1a2b3c4d.vps.forward.example
vps-1a2b3c4d.vps.forward.example A 192.0.2.53
54.2.0.192.in-addr.arpa PTR vmi12345.list.example
vmi12345.list.example A 192.0.2.54
55.2.0.192.in-addr.arpa PTR dsl-192-0-2-55.isp.example
!SERVFAIL dsl-192-0-2-55.isp.example
56.2.0.192.in-addr.arpa PTR mail.isp.example
!SERVFAIL mail.isp.example
!SERVFAIL test._domainkey.lost.bank.example
!SERVFAIL test._domainkey.lost.evil.example
` + checktest.DKIMKey("bank.example") + checktest.DKIMKey("free.example") + checktest.DKIMKey("list.example")

// message is a message in a session.
type message struct {
	client, from string // client and MAIL FROM
	header       string // lines that end with \n
	sign         string // domains of the signatures, with commas between
	changed      bool   // the body is changed after signing
}

// request returns a Request about the message at its end.
func (m message) request(t *testing.T, env checks.Env) *checks.Request {
	t.Helper()
	var fields []headers.Field
	for line := range strings.Lines(m.header) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		fields = append(fields, headers.Field{Name: name, Value: value})
	}
	body := "Hello\r\n"
	for domain := range strings.SplitSeq(m.sign, ",") {
		if domain != "" {
			fields = checktest.Sign(t, fields, body, domain, fmt.Sprint("t=", checktest.Now.Unix()))
		}
	}
	if m.changed {
		body += "-- \r\nfooter of a list\r\n"
	}
	r := checktest.Session{Client: m.client, Helo: "mail.example.com", MailFrom: m.from, Header: fields}.Request(t)
	r.Stage = checks.EndOfHeader
	if w := facts.Body(env, r); w != nil {
		_, _ = w.Write([]byte(body))
	}
	r.Stage = checks.EndOfMessage
	return r
}

// senders are known senders: good ones, and those that are relays too.
type senders struct {
	good, relays []string
	unread       error
}

func (s senders) IsGood(domain string) bool {
	return slices.Contains(s.good, domain) || s.Relays(domain)
}
func (s senders) Relays(domain string) bool { return slices.Contains(s.relays, domain) }
func (s senders) Unread() error             { return s.unread }

func environment(t *testing.T, known checks.Senders) checks.Env {
	t.Helper()
	env := checktest.Env(t, zone)
	env.Signatures, env.Senders = 5, known
	return env
}

const listFields = "List-Id: A list <talk.list.example>\nList-Post: <mailto:talk@list.example>\n"

var unread = senders{unread: errors.New("the store does not answer")}

// manyAuthors are addresses of five domains.
const manyAuthors = "x@a.evil.example, x@b.evil.example, x@c.evil.example, x@d.evil.example, x@e.evil.example"

func TestReasons(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		m      message
		change func(*dmarc.Settings)
		known  senders
		want   string // ids of the reasons, with ? if unsure
		fail   bool
	}{
		{name: "SPF aligns", m: message{client: "192.0.2.1", from: "a@bank.example", header: "From: a@bank.example\n"}},
		{name: "DKIM aligns", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@bank.example\n", sign: "bank.example"}},
		{name: "forged", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@bank.example\n"}, want: "dmarc-reject"},
		{name: "forged, with a signature of the forger", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@bank.example\n", sign: "free.example"}, want: "dmarc-reject"},
		{name: "forged, nothing passes", m: message{client: "192.0.2.67", from: "x@evil.example", header: "From: a@bank.example\n"}, want: "dmarc-reject auth-none"},
		{name: "the body was changed", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@bank.example\n", sign: "bank.example", changed: true}, want: "dmarc-reject"},
		{name: "quarantine", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@shop.example\n"}, want: "dmarc-quarantine"},
		{name: "reject, tested", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@test.example\n"}, want: "dmarc-quarantine"},
		{name: "none", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@club.example\n"}, want: "dmarc-fail"},
		{name: "two author domains", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: x@evil.example, a@bank.example\n"}, want: "dmarc-reject"},
		{name: "two From fields", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: x@evil.example\nFrom: a@bank.example\n"}, want: "dmarc-reject"},
		{name: "six author domains, the forged one last", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: " + manyAuthors + ", a@bank.example\n"}, want: "dmarc-quarantine"},
		{name: "six invalid author domains before the forged one", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: x@a!, x@b!, x@c!, x@d!, x@e!, x@f!, a@bank.example'\n"}, want: "dmarc-quarantine"},
		{name: "six invalid author domains and an ignored one before the forged one", m: message{client: "192.0.2.66", from: "x@evil.example",
			header: "From: x@shop.example, x@evil.example, x@a!, x@b!, x@c!, x@d!, x@e!, x@f!, a@bank.example'\n"},
			change: func(c *dmarc.Settings) { c.Ignore = []string{"shop.example"} }, want: "dmarc-quarantine"},
		{name: "six author domains, the forged one first", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@bank.example, " + manyAuthors + "\n"}, want: "dmarc-reject"},
		{name: "six author domains, from a trusted client", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: " + manyAuthors + ", a@bank.example\n"},
			change: func(c *dmarc.Settings) { c.Trusted = []string{"192.0.2.66"} }},
		{name: "a bounce without author", m: message{client: "192.0.2.1", from: "<>", header: "From: MAILER-DAEMON <>\n"}, want: "auth-none"},
		{name: "a forged bounce", m: message{client: "192.0.2.66", from: "<>", header: "From: a@bank.example\n"}, want: "dmarc-reject auth-none"},
		{name: "an ignored domain", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@mail.bank.example\n"},
			change: func(c *dmarc.Settings) { c.Ignore = []string{"bank.example"} }},

		{name: "no record, SPF aligns", m: message{client: "192.0.2.1", from: "a@free.example", header: "From: a@mail.free.example\n"}},
		{name: "no record, nothing aligns", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@free.example\n"}, want: "from-unaligned"},
		{name: "no record, nothing passes", m: message{client: "192.0.2.67", from: "x@evil.example", header: "From: a@free.example\n"}, want: "auth-none"},
		{name: "an ignored domain beside another", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@wide.example, a@bank.example\n"},
			change: func(c *dmarc.Settings) { c.Ignore = []string{"wide.example"} }, want: "dmarc-reject"},
		{name: "no record, nothing aligns, ignored", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@free.example\n"},
			change: func(c *dmarc.Settings) { c.Ignore = []string{"free.example"} }},

		{name: "no answer for the record", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@broken.example\n"}, fail: true},
		{name: "no answer for the aligned key", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@bank.example\n", sign: "lost.bank.example"}, fail: true},
		{name: "no answer for the aligned key, nothing passes", m: message{client: "192.0.2.67", from: "x@evil.example", header: "From: a@bank.example\n", sign: "lost.bank.example"}, fail: true},
		{name: "no answer for the key, and the body was changed", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@bank.example\n", sign: "lost.bank.example", changed: true}, want: "dmarc-reject"},
		{name: "no record, nothing passes, no answer for another key", m: message{client: "192.0.2.67", from: "x@evil.example", header: "From: a@free.example\n", sign: "lost.evil.example"}, want: "auth-none"},
		{name: "no answer for another key", m: message{client: "192.0.2.67", from: "x@evil.example", header: "From: a@bank.example\n", sign: "lost.evil.example"}, want: "dmarc-reject auth-none"},
		{name: "no answer for SPF of another domain", m: message{client: "192.0.2.66", from: "x@down.example", header: "From: a@bank.example\n"}, want: "dmarc-reject", fail: true},
		{name: "no answer for SPF of the domain", m: message{client: "192.0.2.66", from: "x@down.bank.example", header: "From: a@bank.example\n"}, fail: true},
		{name: "no answer for the names of the client", m: message{client: "192.0.2.52", from: "x@evil.example", header: "From: a@bank.example\n"}, want: "dmarc-reject? auth-none?", fail: true},
		{name: "no answer for a name of the client", m: message{client: "192.0.2.56", from: "x@evil.example", header: "From: a@bank.example\n"}, want: "dmarc-reject? auth-none?", fail: true},
		{name: "no answer for a pool name of the client", m: message{client: "192.0.2.55", from: "x@evil.example", header: "From: a@bank.example\n"}, want: "dmarc-reject auth-none"},
		{name: "no answer for a pool name of the client, which is trusted", m: message{client: "192.0.2.55", from: "x@evil.example", header: "From: a@bank.example\n"},
			change: func(c *dmarc.Settings) { c.Trusted = []string{"isp.example"} }, want: "dmarc-reject? auth-none?", fail: true},
		{name: "no answer for the names of the client, no record, nothing passes", m: message{client: "192.0.2.52", from: "x@evil.example", header: "From: a@free.example\n"}, want: "auth-none?", fail: true},
		{name: "no answer for the names of the client, no record, nothing aligns", m: message{client: "192.0.2.52", from: "x@evil.example", header: "From: a@free.example\n", sign: "list.example"},
			want: "from-unaligned?", fail: true},
		{name: "no answer for the names of the client, policy none", m: message{client: "192.0.2.52", from: "x@evil.example", header: "From: a@club.example\n", sign: "list.example"}, want: "dmarc-fail"},
		{name: "no answer for the names of the client, an unknown list", m: message{client: "192.0.2.52", from: "x@evil.example", header: listFields + "From: a@bank.example\n", sign: "list.example"},
			want: "dmarc-list?", fail: true},
		{name: "no answer for the names of the client, a known list", m: message{client: "192.0.2.52", from: "x@evil.example", header: listFields + "From: a@bank.example\n", sign: "list.example"},
			known: senders{good: []string{"list.example"}}, want: "dmarc-indirect"},

		{name: "a trusted address", m: message{client: "192.0.2.67", from: "x@evil.example", header: "From: a@bank.example\n"},
			change: func(c *dmarc.Settings) { c.Trusted = []string{"192.0.2.64/28"} }, want: "dmarc-indirect"},
		{name: "a trusted name", m: message{client: "192.0.2.51", from: "x@evil.example", header: "From: a@bank.example\n"},
			change: func(c *dmarc.Settings) { c.Trusted = []string{"forward.example"} }, want: "dmarc-indirect"},
		{name: "a trusted name with a dot in front", m: message{client: "192.0.2.51", from: "x@evil.example", header: "From: a@bank.example\n"},
			change: func(c *dmarc.Settings) { c.Trusted = []string{".Forward.example."} }, want: "dmarc-indirect"},
		{name: "another trusted name", m: message{client: "192.0.2.51", from: "x@evil.example", header: "From: a@bank.example\n"},
			change: func(c *dmarc.Settings) { c.Trusted = []string{"mail.forward.example"} }, want: "dmarc-reject auth-none"},
		{name: "a trusted client, no record", m: message{client: "192.0.2.67", from: "x@evil.example", header: "From: a@free.example\n"},
			change: func(c *dmarc.Settings) { c.Trusted = []string{"192.0.2.67"} }},

		{name: "a relay known by its name", m: message{client: "192.0.2.51", from: "x@evil.example", header: "From: a@bank.example\n"},
			known: senders{relays: []string{"forward.example"}}, want: "dmarc-indirect"},
		{name: "a relay known by SPF", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@shop.example\n"},
			known: senders{relays: []string{"evil.example"}}, want: "dmarc-indirect"},
		{name: "a relay whose SPF fails", m: message{client: "192.0.2.67", from: "x@evil.example", header: "From: a@bank.example\n"},
			known: senders{relays: []string{"evil.example"}}, want: "dmarc-reject auth-none"},
		{name: "a relay whose SPF has no answer", m: message{client: "192.0.2.66", from: "x@down.example", header: "From: a@bank.example\n"},
			known: senders{relays: []string{"down.example"}}, want: "dmarc-reject?", fail: true},
		{name: "a relay whose SPF record lets everybody send", m: message{client: "192.0.2.66", from: "x@wide.example", header: "From: a@bank.example\n"},
			known: senders{relays: []string{"wide.example"}}, want: "dmarc-reject"},
		{name: "a named client, and no relay was read yet", m: message{client: "192.0.2.51", from: "x@evil.example", header: "From: a@bank.example\n"},
			known: unread, want: "dmarc-reject? auth-none?", fail: true},
		{name: "a client with SPF, and no relay was read yet", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@bank.example\n"},
			known: unread, want: "dmarc-reject?", fail: true},
		{name: "SPF has no answer, and no relay was read yet", m: message{client: "192.0.2.66", from: "x@down.example", header: "From: a@bank.example\n"},
			known: unread, want: "dmarc-reject?", fail: true},
		{name: "a rented machine whose SPF fails, and no relay was read yet", m: message{client: "192.0.2.53", from: "x@evil.example", header: "From: a@bank.example\n"},
			known: unread, want: "dmarc-reject auth-none"},
		{name: "relays do not count, and none was read yet", m: message{client: "192.0.2.51", from: "x@evil.example", header: "From: a@bank.example\n"},
			known: unread, change: func(c *dmarc.Settings) { c.Relays = false }, want: "dmarc-reject auth-none"},
		{name: "a good sender that is no relay", m: message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@bank.example\n"},
			known: senders{good: []string{"evil.example"}}, want: "dmarc-reject"},
		{name: "known relays do not count", m: message{client: "192.0.2.51", from: "x@evil.example", header: "From: a@bank.example\n"},
			known: senders{relays: []string{"forward.example"}}, change: func(c *dmarc.Settings) { c.Relays = false }, want: "dmarc-reject auth-none"},

		{name: "a list by SPF", m: message{client: "192.0.2.50", from: "b@list.example", header: listFields + "From: a@bank.example\n"}, want: "dmarc-list"},
		{name: "a machine that a known relay rents out", m: message{client: "192.0.2.53", from: "x@evil.example", header: "From: a@bank.example\n"},
			known: senders{relays: []string{"forward.example"}}, want: "dmarc-reject auth-none"},
		{name: "a machine that the owner of a list rents out", m: message{client: "192.0.2.54", from: "x@evil.example", header: listFields + "From: a@bank.example\n"},
			known: senders{good: []string{"list.example"}}, want: "dmarc-reject auth-none"},
		{name: "a list by the client's name", m: message{client: "192.0.2.50", from: "x@evil.example", header: listFields + "From: a@bank.example\n"}, want: "dmarc-list auth-none"},
		{name: "a list by DKIM", m: message{client: "192.0.2.67", from: "x@evil.example", header: listFields + "From: a@shop.example\n", sign: "list.example"}, want: "dmarc-list"},
		{name: "a list by DKIM, no answer for SPF of the list", m: message{client: "192.0.2.67", from: "b@down.list.example", header: listFields + "From: a@shop.example\n", sign: "list.example"},
			want: "dmarc-list"},
		{name: "a list by nothing, no answer for SPF of the list", m: message{client: "192.0.2.67", from: "b@down.list.example", header: listFields + "From: a@shop.example\n", sign: "free.example"},
			want: "dmarc-quarantine?", fail: true},
		{name: "a list by nothing", m: message{client: "192.0.2.66", from: "x@evil.example", header: listFields + "From: a@bank.example\n"}, want: "dmarc-reject"},
		{name: "a list that is a good sender", m: message{client: "192.0.2.50", from: "b@list.example", header: listFields + "From: a@bank.example\n"},
			known: senders{good: []string{"list.example"}}, want: "dmarc-indirect"},
		{name: "a list, and no good sender was read yet", m: message{client: "192.0.2.67", from: "x@evil.example", header: listFields + "From: a@shop.example\n", sign: "list.example"},
			known: unread, want: "dmarc-list?", fail: true},
		{name: "a list, nothing passes SPF or DKIM, and no good sender was read yet", m: message{client: "192.0.2.50", from: "x@evil.example", header: listFields + "From: a@bank.example\n"},
			known: unread, change: func(c *dmarc.Settings) { c.Relays = false }, want: "dmarc-list? auth-none?", fail: true},
		{name: "a list by nothing, and no good sender was read yet", m: message{client: "192.0.2.67", from: "x@evil.example", header: listFields + "From: a@bank.example\n"},
			known: unread, want: "dmarc-reject auth-none"},
		{name: "a list at a public suffix, and no good sender was read yet", m: message{client: "192.0.2.68", from: "x@co.uk",
			header: "List-Id: <co.uk>\nList-Post: <mailto:talk@co.uk>\nFrom: a@bank.example\n"}, known: unread, want: "dmarc-list"},
		{name: "a list, policy none, and no good sender was read yet", m: message{client: "192.0.2.67", from: "x@evil.example", header: listFields + "From: a@club.example\n", sign: "list.example"},
			known: unread, want: "dmarc-fail"},
		{name: "a policy of quarantine, and no relay was read yet", m: message{client: "192.0.2.51", from: "x@evil.example", header: "From: a@shop.example\n"},
			known: unread, want: "dmarc-quarantine? auth-none?", fail: true},
		{name: "a good sender under the name of another list", m: message{client: "192.0.2.66", from: "x@evil.example", header: listFields + "From: a@bank.example\n"},
			known: senders{good: []string{"list.example", "evil.example"}}, want: "dmarc-reject"},
		{name: "a list, but policy none", m: message{client: "192.0.2.50", from: "b@list.example", header: listFields + "From: a@club.example\n"}, want: "dmarc-fail"},
		{name: "List-Id alone", m: message{client: "192.0.2.50", from: "b@list.example", header: "List-Id: <talk.list.example>\nFrom: a@bank.example\n"}, want: "dmarc-reject"},
		{name: "List-Id and List-Unsubscribe", m: message{client: "192.0.2.50", from: "b@list.example", header: "List-Id: talk.list.example\nList-Unsubscribe: <https://list.example/>\nFrom: a@bank.example\n"}, want: "dmarc-list"},
		{name: "list fields do not count", m: message{client: "192.0.2.50", from: "b@list.example", header: listFields + "From: a@bank.example\n"},
			change: func(c *dmarc.Settings) { c.ListMarks = false }, want: "dmarc-reject"},

		{name: "a private client, DKIM aligns", m: message{client: "", from: "x@evil.example", header: "From: a@bank.example\n", sign: "bank.example"}},
		{name: "a private client", m: message{client: "", from: "x@evil.example", header: "From: a@bank.example\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := environment(t, c.known)
			check := checktest.Build(t, dmarc.Info, env, c.change)
			vs, err := checktest.Ask(t, dmarc.Info, check, c.m.request(t, env))
			var got []string
			for _, v := range vs {
				id := v.Reason.ID
				if v.Unsure {
					id += "?"
				}
				got = append(got, id)
			}
			if strings.Join(got, " ") != c.want || (err != nil) != c.fail {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// TestOff tests that the check says nothing if DKIM is off.
func TestOff(t *testing.T) {
	t.Parallel()
	env := environment(t, nil)
	env.Signatures = 0
	c := checktest.Build[dmarc.Settings](t, dmarc.Info, env, nil)
	r := message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@bank.example\n"}.request(t, env)
	if vs, err := checktest.Ask(t, dmarc.Info, c, r); len(vs) > 0 || err != nil {
		t.Errorf("%+v, %v", vs, err)
	}
	if a := c.(checks.Authenticator).Authenticate(t.Context(), r); len(a) > 0 {
		t.Errorf("%+v", a)
	}
}

// TestAuthenticate tests the result for the trace fields.
func TestAuthenticate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		m    message
		want string
	}{
		{"pass", message{client: "192.0.2.1", from: "a@bank.example", header: "From: a@bank.example\n"},
			"pass header.from=bank.example policy.published-domain-policy=reject policy.applied-disposition=none"},
		{"fail", message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@mail.bank.example\n"},
			"fail (no aligned pass of SPF or DKIM, p=reject) header.from=mail.bank.example policy.published-domain-policy=reject policy.applied-disposition=none"},
		{"list", message{client: "192.0.2.50", from: "b@list.example", header: listFields + "From: a@bank.example\n"},
			"fail (passed on by the mailing list talk.list.example, which is not known yet) header.from=bank.example policy.published-domain-policy=reject policy.applied-disposition=none"},
		{"testing", message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@test.example\n"},
			"fail (no aligned pass of SPF or DKIM, p=quarantine) header.from=test.example policy.published-domain-policy=reject policy.applied-disposition=none"},
		{"no record", message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@free.example\n"}, "none (no record) header.from=free.example"},
		{"no author", message{client: "192.0.2.66", from: "<>", header: "From: MAILER-DAEMON <>\n"}, "none (no author domain) header.from="},
		{"no answer", message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@broken.example\n"}, "temperror (a DNS server did not answer) header.from=broken.example"},
		{"a private client", message{from: "x@evil.example", header: "From: a@bank.example\n"}, ""},
		{"a private client, pass", message{from: "x@evil.example", header: "From: a@bank.example\n", sign: "bank.example"},
			"pass header.from=bank.example policy.published-domain-policy=reject policy.applied-disposition=none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := environment(t, nil)
			check := checktest.Build[dmarc.Settings](t, dmarc.Info, env, nil)
			var got string
			for _, a := range check.(checks.Authenticator).Authenticate(t.Context(), c.m.request(t, env)) {
				got = a.Result
				if a.Comment != "" {
					got += " (" + a.Comment + ")"
				}
				for _, p := range a.Properties {
					got += " " + p.Name + "=" + p.Value
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestDetail tests what replies and pages show.
func TestDetail(t *testing.T) {
	t.Parallel()
	env := environment(t, nil)
	c := checktest.Build[dmarc.Settings](t, dmarc.Info, env, nil)
	m := message{client: "192.0.2.67", from: "x@evil.example", header: "From: a@mail.bank.example\n", sign: "bank.example,list.example", changed: true}
	vs, err := checktest.Ask(t, dmarc.Info, c, m.request(t, env))
	if len(vs) != 2 || err != nil {
		t.Fatalf("%+v, %v", vs, err)
	}
	for key, want := range map[string]string{
		"domain": "mail.bank.example", "policy_domain": "bank.example", "policy": "reject", "record": "v=DMARC1; p=reject",
		"spf": "fail for evil.example", "dkim": "fail for bank.example (the body was changed after signing), fail for list.example (the body was changed after signing)",
		"passes": "", "aligned": "bank.example (DKIM)", "path": "", "list": "",
	} {
		if got := vs[0].Detail[key]; got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}

// TestDetailOfManyAuthors tests that the reply to a message with too many author domains names no domain, as the policy is unknown.
func TestDetailOfManyAuthors(t *testing.T) {
	t.Parallel()
	env := environment(t, nil)
	c := checktest.Build[dmarc.Settings](t, dmarc.Info, env, nil)
	m := message{client: "192.0.2.66", from: "x@evil.example", header: "From: " + manyAuthors + ", a@bank.example\n"}
	vs, err := checktest.Ask(t, dmarc.Info, c, m.request(t, env))
	if len(vs) != 1 || err != nil || vs[0].Detail["domain"] != "one of many domains in From" || vs[0].Detail["author_domain"] != "" {
		t.Errorf("%+v, %v", vs, err)
	}
}

// TestClockInDoubt tests that a signature that is from the future by a clock in doubt lets nothing be refused for good, as it may be
// valid, and that it does not let a forgery in.
func TestClockInDoubt(t *testing.T) {
	t.Parallel()
	for moved, want := range map[time.Duration]string{0: "", -2 * time.Hour: "dmarc-reject?", -3 * 24 * time.Hour: "dmarc-reject?"} {
		env := environment(t, senders{})
		env.Clock = checks.NewClock(checktest.Now, time.Time{}, func() time.Duration { return 0 })
		r := message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@bank.example\n", sign: "bank.example"}.request(t, env)
		r.Session.Time = r.Time.Add(moved)
		c := checktest.Build[dmarc.Settings](t, dmarc.Info, env, nil)
		verdicts, err := checktest.Ask(t, dmarc.Info, c, r)
		got := ""
		for _, v := range verdicts {
			got += v.Reason.ID
			if v.Unsure {
				got += "?"
			}
		}
		if got != want || (err != nil) != (want != "") {
			t.Errorf("moved by %v: got %q, %v, want %q", moved, got, err, want)
		}
	}
}
