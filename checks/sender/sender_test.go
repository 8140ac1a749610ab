package sender_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/sender"
)

// zone has globally reachable addresses that no mail host has, of RFC 7535 and RFC 7534. Documentation addresses are not
// globally reachable.
const zone = `
example.net.            MX     10 mx.example.net.
mx.example.net.         A      192.31.196.10
noaddress.example.net.  TXT    "neither MX nor address"
implicit.example.net.   A      192.31.196.10
implicit6.example.net.  AAAA   2620:4f:8000::10
only6.example.net.      MX     10 mx6.example.net.
mx6.example.net.        AAAA   2620:4f:8000::10
aliased.example.net.    CNAME  example.net.
mxalias.example.net.    MX     10 alias.example.net.
alias.example.net.      CNAME  mx.example.net.
under_score.example.net. MX    10 mx.example.net.
xn--bcher-kva.example.  MX     10 mx.example.net.

null.example.net.       MX     0 .
null.example.net.       A      192.31.196.10
blunder.example.net.    MX     0 .
blunder.example.net.    MX     10 mx.example.net.

loop.example.net.       MX     10 localhost.example.net.
localhost.example.net.  A      127.0.0.1
localhost.example.net.  AAAA   ::1
private.example.net.    MX     10 ten.example.net.
private.example.net.    MX     20 localhost.example.net.
private.example.net.    MX     30 nowhere.example.net.
private.example.net.    MX     40 docs.example.net.
ten.example.net.        A      10.0.0.1
docs.example.net.       A      192.0.2.1
literal.example.net.    MX     10 192.31.196.10.
half.example.net.       MX     10 ten.example.net.
half.example.net.       MX     20 mx.example.net.
mixed.example.net.      MX     10 mixedhost.example.net.
mixedhost.example.net.  A      10.0.0.1
mixedhost.example.net.  AAAA   2620:4f:8000::10
implicitten.example.net. A     10.0.0.1

!SERVFAIL broken.example.net
!TIMEOUT slow.example.net
nomx.example.net.       A      192.31.196.10
!SERVFAIL nomx.example.net MX
unknownaddr.example.net. TXT   x
!TIMEOUT unknownaddr.example.net A
tenandbroken.example.net. MX   10 ten.example.net.
tenandbroken.example.net. MX   20 broken.example.net.
goodandbroken.example.net. MX  10 broken.example.net.
goodandbroken.example.net. MX  20 mx.example.net.

; this site
example.org.            MX     10 mx.example.net.
example.org.            TXT    "v=spf1 ip4:192.0.2.50 ip6:2001:db8::50 ~all"
news.example.org.       MX     10 mx.example.net.
wide.example.org.       MX     10 mx.example.net.
wide.example.org.       TXT    "v=spf1 +all"
silent.example.org.     MX     10 mx.example.net.
typo.example.org.       MX     10 mx.example.net.
typo.example.org.       TXT    "v=spf1 ipv4:192.0.2.50 -all"
unsure.example.org.     MX     10 mx.example.net.
!SERVFAIL unsure.example.org TXT
`

func env(t testing.TB, zoneText string) checks.Env {
	t.Helper()
	e := checktest.Env(t, zoneText)
	for _, d := range []string{"wide", "silent", "typo", "unsure", "gone"} {
		e.Site.LocalDomains = append(e.Site.LocalDomains, d+".example.org")
	}
	return e
}

func build(t testing.TB, e checks.Env) checks.Check {
	return checktest.Build[sender.Settings](t, sender.Info, e, nil)
}

type testCase struct {
	name, client, from string
	want               string // ids of reasons
	fails              bool   // returns an error
}

// run checks each case. The client is 192.0.2.10 if a case has none.
func run(t *testing.T, cases []testCase) {
	t.Helper()
	t.Parallel()
	c := build(t, env(t, zone))
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client := test.client
			switch client {
			case "":
				client = "192.0.2.10"
			case "unknown":
				client = ""
			}
			r := checktest.Session{Client: client, Helo: "mail.example.net", MailFrom: test.from}.Request(t)
			checktest.Want(t, sender.Info, c, r, test.want, test.fails)
		})
	}
}

func TestSyntaxOfTheAddress(t *testing.T) {
	local64, local65 := strings.Repeat("l", 64), strings.Repeat("l", 65)
	run(t, []testCase{
		{name: "the null reverse-path", from: "<>"},
		{name: "the null reverse-path as Postfix sends it", from: ""},
		{name: "an address", from: "<user@example.net>"},
		{name: "an address without angle brackets", from: "user@example.net"},
		{name: "a domain in capitals", from: "<User@EXAMPLE.NET>"},
		{name: "a quoted local part", from: `<"a b@c"@example.net>`},
		{name: "unusual characters that are allowed", from: "<!#$%&'*+-/=?^_`{|}~@example.net>"},
		{name: "a VERP address", from: "<list-bounces+user=example.org@example.net>"},
		{name: "an SRS address", from: "<SRS0=x+y=ab=example.com=user@example.net>"},
		{name: "a source route", from: "<@relay.example.com,@other.example.com:user@example.net>"},
		{name: "a local part of 64 bytes", from: local64 + "@example.net"},
		{name: "an internationalised address", from: "jürgen@bücher.example"},
		{name: "an address literal", from: "user@[192.0.2.99]"},
		{name: "an IPv6 address literal", from: "user@[IPv6:2001:db8::99]"},

		{name: "no domain", from: "user", want: "sender-syntax"},
		{name: "no local part", from: "@example.net", want: "sender-syntax"},
		{name: "an empty domain", from: "user@", want: "sender-syntax"},
		{name: "two at signs", from: "a@b@example.net", want: "sender-syntax"},
		{name: "a space", from: "a b@example.net", want: "sender-syntax"},
		{name: "a display name", from: "User <user@example.net>", want: "sender-syntax"},
		{name: "an open quote", from: `"user@example.net`, want: "sender-syntax"},
		{name: "control characters", from: "a\r\nRCPT TO:<b>@example.net", want: "sender-syntax"},
		{name: "a domain that begins with a hyphen", from: "user@-example.net", want: "sender-syntax"},
		{name: "a domain with two dots", from: "user@example..net", want: "sender-syntax"},
		{name: "an invalid address literal", from: "user@[192.0.2.300]", want: "sender-syntax"},
		{name: "a label over 63 bytes", from: "user@" + strings.Repeat("a", 64) + ".net", want: "sender-syntax"},
		{name: "a domain over 255 bytes", from: "u@" + strings.Repeat("abcdefg.", 32) + "net", want: "sender-syntax"},
		{name: "a path over 256 bytes", from: strings.Repeat("l", 60) + "@" + strings.Repeat("abcdefg.", 24) + "net", want: "sender-syntax"},
		{name: "a stray dot and a space", from: "a..b c@example.net", want: "sender-syntax"},

		{name: "a leading dot", from: ".user@example.net", want: "sender-syntax-lax"},
		{name: "a trailing dot", from: "user.@example.net", want: "sender-syntax-lax"},
		{name: "two dots", from: "a..b@example.net", want: "sender-syntax-lax"},
		{name: "a local part of 65 bytes", from: local65 + "@example.net", want: "sender-syntax-lax"},
		{name: "an underscore in the domain", from: "user@under_score.example.net", want: "sender-syntax-lax"},
		{name: "a dot after the domain", from: "user@example.net.", want: "sender-syntax-lax"},
		{name: "two dots, and a domain that does not exist", from: "a..b@nowhere.example.net", want: "sender-syntax-lax sender-no-domain"},
	})
}

func TestMailHostsOfTheDomain(t *testing.T) {
	run(t, []testCase{
		{name: "an implicit MX by an IPv4 address", from: "user@implicit.example.net"},
		{name: "an implicit MX by an IPv6 address", from: "user@implicit6.example.net"},
		{name: "a mail host with IPv6 only", from: "user@only6.example.net"},
		{name: "a domain that is an alias", from: "user@aliased.example.net"},
		{name: "a mail host that is an alias", from: "user@mxalias.example.net"},

		{name: "a domain that does not exist", from: "user@nowhere.example.net", want: "sender-no-domain"},
		{name: "a domain with neither MX nor address", from: "user@noaddress.example.net", want: "sender-no-domain"},
		{name: "a single label", from: "root@localhost", want: "sender-no-domain"},
		{name: "an address without brackets", from: "user@192.0.2.1", want: "sender-no-domain"},

		{name: "a null MX", from: "user@null.example.net", want: "sender-null-mx"},
		{name: "a null MX beside a host", from: "user@blunder.example.net"},

		{name: "a loopback mail host", from: "user@loop.example.net", want: "sender-bogus-mx"},
		{name: "private, loopback, documentation and missing mail hosts", from: "user@private.example.net", want: "sender-bogus-mx"},
		{name: "an MX record with an address", from: "user@literal.example.net", want: "sender-bogus-mx"},
		{name: "an implicit MX that is private", from: "user@implicitten.example.net", want: "sender-bogus-mx"},
		{name: "a private mail host that is the client", client: "10.0.0.1", from: "user@implicitten.example.net"},
		{name: "a private mail host that is not the client", client: "10.0.0.2", from: "user@implicitten.example.net", want: "sender-bogus-mx"},
		{name: "a loopback mail host that is the client", client: "127.0.0.1", from: "user@loop.example.net", want: "sender-bogus-mx"},
		{name: "a private mail host and a reachable one", from: "user@half.example.net"},
		{name: "a mail host with a private address and a reachable one", from: "user@mixed.example.net"},

		{name: "SERVFAIL", from: "user@broken.example.net", fails: true},
		{name: "a time-out", from: "user@slow.example.net", fails: true},
		{name: "SERVFAIL of the MX question only", from: "user@nomx.example.net", fails: true},
		{name: "a time-out of one address question", from: "user@unknownaddr.example.net", fails: true},
		{name: "a private mail host and one that could not be looked up", from: "user@tenandbroken.example.net", fails: true},
		{name: "a reachable mail host and one that could not be looked up", from: "user@goodandbroken.example.net"},
		{name: "two dots, and SERVFAIL", from: "a..b@broken.example.net", want: "sender-syntax-lax", fails: true},
	})
}

func TestOwnDomain(t *testing.T) {
	run(t, []testCase{
		{name: "a client that SPF passes", client: "192.0.2.50", from: "user@example.org"},
		{name: "an IPv6 client that SPF passes", client: "2001:db8::50", from: "user@example.org"},
		{name: "a subdomain of a local domain", from: "user@news.example.org"},
		{name: "a client without address", client: "unknown", from: "user@example.org"},

		{name: "a softfail", from: "user@example.org", want: "sender-own-domain"},
		{name: "an IPv6 client", client: "2001:db8::10", from: "user@example.org", want: "sender-own-domain"},
		{name: "a local domain in capitals with a trailing dot", from: "user@EXAMPLE.ORG.", want: "sender-syntax-lax sender-own-domain"},
		{name: "no SPF record", from: "user@silent.example.org", want: "sender-own-domain"},
		{name: "a wrong SPF record", from: "user@typo.example.org", want: "sender-own-domain"},
		{name: "a pass that is too wide", from: "user@wide.example.org", want: "sender-own-domain"},
		{name: "a local domain that does not exist", from: "user@gone.example.org", want: "sender-no-domain sender-own-domain"},

		{name: "the SPF lookup fails", from: "user@unsure.example.org", fails: true},
	})
}

func TestAuthenticatedClientsMayUseLocalDomains(t *testing.T) {
	t.Parallel()
	r := checktest.Session{Client: "192.0.2.10", MailFrom: "user@example.org", Auth: "user"}.Request(t)
	checktest.Want(t, sender.Info, build(t, env(t, zone)), r, "", false)
}

// TestManyUnreachableMailHosts tests that there is an error if the eleventh host was not looked up.
func TestManyUnreachableMailHosts(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 11 {
		fmt.Fprintf(&b, "example.net. MX %d mx%d.example.net.\n", i, i)
	}
	r := checktest.Session{Client: "192.0.2.10", MailFrom: "user@example.net"}.Request(t)
	checktest.Want(t, sender.Info, build(t, env(t, b.String())), r, "", true)
}

func TestValuesInReplies(t *testing.T) {
	t.Parallel()
	c := build(t, env(t, zone))
	for _, test := range []struct{ from, reason, key, want string }{
		{"a b@example.net", "sender-syntax", "fault", `" " is not allowed in a local part without quotes`},
		{"a..b@example.net", "sender-syntax-lax", "fault", "stray dot in the local part"},
		{"user@loop.example.net", "sender-bogus-mx", "hosts", "localhost.example.net (127.0.0.1)"},
		{"user@private.example.net", "sender-bogus-mx", "hosts", "ten.example.net (10.0.0.1), localhost.example.net (127.0.0.1), nowhere.example.net (no address), 1 more"},
		{"user@example.org", "sender-own-domain", "spf", "softfail"},
		{"user@silent.example.org", "sender-own-domain", "spf", "none"},
	} {
		r := checktest.Session{Client: "192.0.2.10", MailFrom: test.from}.Request(t)
		vs, _ := checktest.Ask(t, sender.Info, c, r)
		i := slices.IndexFunc(vs, func(v checks.Verdict) bool { return v.Reason.ID == test.reason })
		if i < 0 {
			t.Errorf("%s: no %s", test.from, test.reason)
		} else if got := vs[i].Detail[test.key]; got != test.want {
			t.Errorf("%s: %s is %q, want %q", test.from, test.key, got, test.want)
		}
	}
}

func TestPrefetch(t *testing.T) {
	t.Parallel()
	e := env(t, zone)
	for _, from := range []string{
		"<>", "user@example.net", "user@implicit.example.net", "user@null.example.net", "user@nowhere.example.net",
		"user@private.example.net", "user@[192.0.2.1]", "no address", "user@bücher.example", "user@aliased.example.net",
	} {
		session := checktest.Session{Client: "192.0.2.10", Helo: "mail.example.net", MailFrom: from}
		asked, prefetched := checktest.Questions(t, sender.Info, e, build, session)
		// More may be prefetched: the client's names, at a time when the sender is not known.
		for _, q := range asked {
			if !slices.Contains(prefetched, q) {
				t.Errorf("%s: asked %q, prefetched %q", from, q, prefetched)
			}
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	c := build(b, env(b, zone))
	d := checktest.Session{Client: "192.0.2.10", MailFrom: "user@example.net"}
	b.ReportAllocs()
	for b.Loop() {
		r := d.Request(b)
		r.Stage = checks.MailFrom
		if vs, err := c.Check(context.Background(), r); len(vs) > 0 || err != nil {
			b.Fatal(vs, err)
		}
	}
}
