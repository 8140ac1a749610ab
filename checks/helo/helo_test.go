package helo_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/helo"
)

// zone has the client 192.0.2.10 and 2001:db8::10 with the name mail.example.net, and names with one fault each.
const zone = `
10.2.0.192.in-addr.arpa.  PTR    mail.example.net.
10.2.0.192.in-addr.arpa.  PTR    second.example.net.
0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.  PTR  mail.example.net.
mail.example.net.         A      192.0.2.10
mail.example.net.         AAAA   2001:db8::10
second.example.net.       A      198.51.100.1
forward.example.net.      A      198.51.100.1
forward.example.net.      A      192.0.2.10
v4.example.net.           A      192.0.2.10
v6.example.net.           AAAA   2001:db8::10
elsewhere.example.net.    A      198.51.100.1
text.example.net.         TXT    "a name without address"
alias.example.net.        CNAME  mail.example.net.
dangling.example.net.     CNAME  nowhere.example.net.
under_score.example.net.  A      192.0.2.10
xn--bcher-kva.example.    A      192.0.2.10
single.                   A      192.0.2.10
192.0.2.example.net.      A      192.0.2.10
3com.example.net.         A      192.0.2.10

!SERVFAIL broken.example.net
!TIMEOUT slow.example.net
half4.example.net.        AAAA   2001:db8::99
!SERVFAIL half4.example.net A
half6.example.net.        A      192.0.2.10
!SERVFAIL half6.example.net AAAA
empty6.example.net.       TXT    x
!TIMEOUT empty6.example.net AAAA
aliased6.example.net.     CNAME  v6.example.net.
!TIMEOUT aliased6.example.net A

; 192.0.2.30: the reverse zone fails
!SERVFAIL 30.2.0.192.in-addr.arpa

; this site
mx.example.org.           A      203.0.113.1
mx.example.org.           A      192.0.2.40
40.2.0.192.in-addr.arpa.  PTR    mx.example.org.
example.org.              A      203.0.113.2
example.org.              TXT    "v=spf1 ip4:192.0.2.50 -all"
mail.example.org.         A      192.0.2.10
wide.example.org.         TXT    "v=spf1 +all"
wide.example.org.         A      203.0.113.3
spfless.example.org.      A      203.0.113.4
!SERVFAIL spfless.example.org TXT
!TIMEOUT unknown.example.org A
unknown.example.org.      TXT    "v=spf1 ip4:192.0.2.50 -all"
`

type settings = helo.Settings

func build(t testing.TB, env checks.Env) checks.Check {
	return checktest.Build(t, helo.Info, env, func(c *settings) {
		c.OwnNames = []string{"Spare.example.org.", "wide.example.org", "spfless.example.org", "unknown.example.org"}
	})
}

type testCase struct {
	name, client, helo string
	want               string // ids of reasons
	fails              bool   // returns an error
}

// run checks each case. The client is 192.0.2.10 if a case has none.
func run(t *testing.T, cases []testCase) {
	t.Helper()
	t.Parallel()
	c := build(t, checktest.Env(t, zone))
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
			checktest.Want(t, helo.Info, c, checktest.Session{Client: client, Helo: test.helo}.Request(t), test.want, test.fails)
		})
	}
}

func TestSyntaxOfTheName(t *testing.T) {
	run(t, []testCase{
		{name: "the client's name", helo: "mail.example.net"},
		{name: "the client's name in capitals", helo: "MAIL.Example.NET"},
		{name: "the client's name with a trailing dot", helo: "mail.example.net."},
		{name: "a name that begins with a digit", helo: "3com.example.net"},
		{name: "a name that begins like an address", helo: "192.0.2.example.net"},
		{name: "an internationalised name as A-labels", helo: "xn--bcher-kva.example"},

		{name: "MAIL without HELO", helo: "", want: "helo-missing"},

		{name: "an internationalised name as U-labels", helo: "bücher.example", want: "helo-syntax"},
		{name: "two words", helo: "mail example", want: "helo-syntax"},
		{name: "a hyphen at the edge of a label", helo: "mail-.example.net", want: "helo-syntax"},
		{name: "two dots", helo: "mail..example.net", want: "helo-syntax"},
		{name: "two dots at the end", helo: "mail.example.net..", want: "helo-syntax"},
		{name: "only a dot", helo: ".", want: "helo-syntax"},
		{name: "a leading dot", helo: ".example.net", want: "helo-syntax"},
		{name: "a label of 63 bytes", helo: strings.Repeat("a", 63) + ".example.net", want: "helo-unresolvable helo-mismatch"},
		{name: "a label of 64 bytes", helo: strings.Repeat("a", 64) + ".example.net", want: "helo-syntax"},
		{name: "a name over 255 bytes", helo: strings.Repeat("abcdefg.", 32) + "net", want: "helo-syntax"},
		{name: "a mail address", helo: "user@example.net", want: "helo-syntax"},
		{name: "markup", helo: "<script>", want: "helo-syntax"},
		{name: "control characters and bytes over 127", helo: "a\r\n250 \x00\xff", want: "helo-syntax"},
		{name: "a literal without closing bracket", helo: "[192.0.2.10", want: "helo-syntax"},
		{name: "a literal without an address", helo: "[mail.example.net]", want: "helo-syntax"},
		{name: "an empty literal", helo: "[]", want: "helo-syntax"},
		{name: "a literal out of range", helo: "[192.0.2.256]", want: "helo-syntax"},
		{name: "a literal with an unknown tag", helo: "[X400:192.0.2.10]", want: "helo-syntax"},

		{name: "an underscore", helo: "under_score.example.net", want: "helo-underscore"},
		{name: "an underscore in a single label", helo: "MY_PC", want: "helo-underscore helo-not-fqdn helo-unresolvable helo-mismatch"},
		{name: "an underscore and another fault", helo: "my_pc-", want: "helo-syntax"},

		{name: "an IPv4 address", helo: "192.0.2.10", want: "helo-bare-ip"},
		{name: "an IPv4 address with a trailing dot", helo: "192.0.2.10.", want: "helo-bare-ip"},
		{name: "an IPv4 address with leading zeros", helo: "192.000.002.010", want: "helo-bare-ip"},
		{name: "an IPv6 address", helo: "2001:db8::10", want: "helo-bare-ip"},
		{name: "an IPv6 address with its tag", helo: "ipv6:2001:db8::10", want: "helo-bare-ip"},
		{name: "an IPv6 address with its zone", helo: "fe80::1%eth0", want: "helo-bare-ip"},
		{name: "four numbers that are no address", helo: "300.1.2.3", want: "helo-unresolvable helo-mismatch"},

		{name: "a single label", helo: "friend", want: "helo-not-fqdn helo-unresolvable helo-mismatch"},
		{name: "a single label with a trailing dot", helo: "friend.", want: "helo-not-fqdn helo-unresolvable helo-mismatch"},
		{name: "a single label that resolves", helo: "single", want: "helo-not-fqdn"},
	})
}

func TestLiteral(t *testing.T) {
	const v6 = "2001:db8::10"
	run(t, []testCase{
		{name: "the client's own address", helo: "[192.0.2.10]"},
		{name: "the own address with leading zeros", helo: "[192.000.002.010]"},
		{name: "an IPv6 client's own address", client: v6, helo: "[IPv6:2001:db8::10]"},
		{name: "the own address with a tag in lower case and in long form", client: v6, helo: "[ipv6:2001:0DB8:0:0:0:0:0:10]"},
		{name: "the own address without tag", client: v6, helo: "[2001:db8::10]", want: "helo-syntax"},
		{name: "another address without tag", helo: "[::1]", want: "helo-syntax"},
		{name: "an IPv4-mapped address without tag", helo: "[::ffff:192.0.2.10]", want: "helo-syntax"},
		{name: "an IPv4-mapped address of an IPv4 client", helo: "[IPv6:::ffff:192.0.2.10]"},
		{name: "the own address of a link-local client", client: "fe80::10%eth0", helo: "[IPv6:fe80::10]"},
		{name: "a client without address", client: "unknown", helo: "[192.0.2.10]"},

		{name: "a neighbour in the /24", helo: "[192.0.2.255]", want: "helo-literal-near"},
		{name: "the next /24", helo: "[192.0.3.10]", want: "helo-literal"},
		{name: "a neighbour in the /64", client: v6, helo: "[IPv6:2001:db8::ffff:10]", want: "helo-literal-near"},
		{name: "the next /64", client: v6, helo: "[IPv6:2001:db8:0:1::10]", want: "helo-literal"},
		{name: "a private address behind a router", helo: "[192.168.1.5]", want: "helo-literal"},
		{name: "loopback", helo: "[127.0.0.1]", want: "helo-literal"},
		{name: "the other family", client: v6, helo: "[192.0.2.10]", want: "helo-literal"},
		{name: "another network, without tag", client: v6, helo: "[2001:db9::10]", want: "helo-syntax"},
		{name: "an address of this site", helo: "[203.0.113.1]", want: "helo-literal"},
	})
}

func TestOwnName(t *testing.T) {
	run(t, []testCase{
		{name: "the host name of this site", helo: "mx.example.org", want: "helo-own-name helo-mismatch"},
		{name: "the host name of this site in capitals with a trailing dot", helo: "MX.EXAMPLE.ORG.", want: "helo-own-name helo-mismatch"},
		{name: "a local domain", helo: "example.org", want: "helo-own-name helo-mismatch"},
		{name: "a name of the settings", helo: "spare.example.org", want: "helo-own-name helo-unresolvable helo-mismatch"},
		{name: "a host under a local domain", helo: "mail.example.org"},
		{name: "an address of this site without brackets", helo: "203.0.113.1", want: "helo-bare-ip helo-own-name"},
		{name: "an address of this site without brackets, from this address", client: "203.0.113.1", helo: "203.0.113.1", want: "helo-bare-ip"},
		{name: "the host name of this site, which resolves to the client", client: "192.0.2.40", helo: "mx.example.org"},
		{name: "a local domain, SPF passes", client: "192.0.2.50", helo: "example.org", want: "helo-mismatch"},
		{name: "a name of this site, the SPF policy is too wide", helo: "wide.example.org", want: "helo-own-name helo-mismatch"},
		{name: "a client without address", client: "unknown", helo: "example.org"},

		{name: "the SPF lookup fails", helo: "spfless.example.org", want: "helo-mismatch", fails: true},
		{name: "the address lookup fails", helo: "unknown.example.org", fails: true},
		{name: "the address lookup fails, SPF passes", client: "192.0.2.50", helo: "unknown.example.org", fails: true},
	})
}

func TestLookupOfTheName(t *testing.T) {
	const v6 = "2001:db8::10"
	run(t, []testCase{
		{name: "a PTR name that does not resolve to the client", helo: "second.example.net"},
		{name: "a name with several addresses, one of them the client's", helo: "forward.example.net"},
		{name: "an IPv6 client's name", client: v6, helo: "mail.example.net"},
		{name: "an IPv6 client and a name with IPv6 only", client: v6, helo: "v6.example.net"},
		{name: "a client without address", client: "unknown", helo: "elsewhere.example.net"},

		{name: "a name that does not exist", helo: "nowhere.example.net", want: "helo-unresolvable helo-mismatch"},
		{name: "a name without address", helo: "text.example.net", want: "helo-unresolvable helo-mismatch"},
		{name: "a name that does not exist, and a client without address", client: "unknown", helo: "nowhere.example.net", want: "helo-unresolvable"},
		{name: "an alias of the client's name", helo: "alias.example.net", want: "helo-cname"},
		{name: "an alias without target", helo: "dangling.example.net", want: "helo-unresolvable helo-cname helo-mismatch"},
		{name: "a name with another address", helo: "elsewhere.example.net", want: "helo-mismatch"},
		{name: "an IPv6 client and a name with IPv4 only", client: v6, helo: "v4.example.net", want: "helo-mismatch"},
		{name: "an IPv4 client and a name with IPv6 only", helo: "v6.example.net", want: "helo-mismatch"},

		{name: "SERVFAIL", helo: "broken.example.net", fails: true},
		{name: "a time-out", helo: "slow.example.net", fails: true},
		{name: "the client's family fails", helo: "half4.example.net", fails: true},
		{name: "the other family fails, the name exists", client: "2001:db8::99", helo: "half4.example.net"},
		{name: "the other family fails, the name resolves to the client", helo: "half6.example.net"},
		{name: "the other family fails, the name may exist", helo: "empty6.example.net", want: "helo-mismatch", fails: true},
		{name: "the other family fails, the name is an alias", client: v6, helo: "aliased6.example.net", want: "helo-cname"},
		{name: "the client's family fails, the name is an alias", helo: "aliased6.example.net", want: "helo-cname", fails: true},
		{name: "the reverse zone fails", client: "192.0.2.30", helo: "elsewhere.example.net", fails: true},
		{name: "the reverse zone fails, the name does not exist", client: "192.0.2.30", helo: "nowhere.example.net", want: "helo-unresolvable", fails: true},
	})
}

func TestSecondHelo(t *testing.T) {
	t.Parallel()
	c := build(t, checktest.Env(t, zone))
	for _, test := range []struct{ name, first, second, want string }{
		{name: "the same name again", first: "mail.example.net", second: "mail.example.net"},
		{name: "the same name in capitals", first: "mail.example.net", second: "MAIL.example.net."},
		{name: "another name of the client", first: "mail.example.net", second: "v4.example.net", want: "helo-changed"},
		{name: "first a single label", first: "friend", second: "mail.example.net", want: "helo-changed"},
		{name: "then a malformed name", first: "mail.example.net", second: "a b", want: "helo-syntax helo-changed"},
		{name: "a literal after a name", first: "mail.example.net", second: "[192.0.2.10]", want: "helo-changed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := checktest.Session{Client: "192.0.2.10", Helo: test.first, SecondHelo: test.second}.Request(t)
			checktest.Want(t, helo.Info, c, r, test.want, false)
		})
	}
	t.Run("another name after STARTTLS", func(t *testing.T) {
		t.Parallel()
		r := checktest.Session{Client: "192.0.2.10", Helo: "v4.example.net"}.Request(t)
		r.SetHelo("mail.example.net", true)
		checktest.Want(t, helo.Info, c, r, "", false)
	})
}

func TestValuesInReplies(t *testing.T) {
	t.Parallel()
	c := build(t, checktest.Env(t, zone))
	for _, test := range []struct{ client, helo, again, reason, key, want string }{
		{"192.0.2.10", "a b", "", "helo-syntax", "fault", `" " is not allowed in a domain`},
		{"192.0.2.10", "192.000.2.9", "", "helo-bare-ip", "literal", "[192.0.2.9]"},
		{"192.0.2.10", "2001:DB8::9", "", "helo-bare-ip", "literal", "[IPv6:2001:db8::9]"},
		{"192.0.2.10", "alias.example.net", "", "helo-cname", "target", "mail.example.net"},
		{"192.0.2.10", "friend", "mail.example.net", "helo-changed", "previous", "friend"},
	} {
		r := checktest.Session{Client: test.client, Helo: test.helo, SecondHelo: test.again}.Request(t)
		vs, _ := checktest.Ask(t, helo.Info, c, r)
		i := slices.IndexFunc(vs, func(v checks.Verdict) bool { return v.Reason.ID == test.reason })
		if i < 0 {
			t.Errorf("%s: no %s", test.helo, test.reason)
		} else if got := vs[i].Detail[test.key]; got != test.want {
			t.Errorf("%s: %s is %q, want %q", test.helo, test.key, got, test.want)
		}
	}
}

func TestPrefetch(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	for _, name := range []string{
		"", "mail.example.net", "alias.example.net", "dangling.example.net", "under_score.example.net", "friend",
		"192.0.2.10", "[192.0.2.10]", "a b", "elsewhere.example.net.",
	} {
		session := checktest.Session{Client: "192.0.2.10", Helo: name, MailFrom: "user@example.net"}
		asked, prefetched := checktest.Questions(t, helo.Info, env, build, session)
		for _, q := range asked {
			if !slices.Contains(prefetched, q) {
				t.Errorf("%s: %s was not prefetched", name, q)
			}
		}
		if strings.ContainsAny(name, "[ ") || name == "192.0.2.10" {
			if len(asked) > 0 {
				t.Errorf("%s: asked %q", name, asked)
			}
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	if err := (settings{OwnNames: []string{"mail.example.org", "my_host.example.org."}}).Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "a b", "mail..example.org", "*.example.org"} {
		if err := (settings{OwnNames: []string{bad}}).Validate(); err == nil {
			t.Errorf("%q is accepted as a name", bad)
		}
	}
}

// TestSiteWithoutNames tests that an empty host name makes no name one of the site.
func TestSiteWithoutNames(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	env.Site = checks.Site{}
	c := checktest.Build[settings](t, helo.Info, env, nil)
	checktest.Want(t, helo.Info, c, checktest.Session{Client: "192.0.2.10", Helo: "mail.example.net"}.Request(t), "", false)
}

func BenchmarkCheck(b *testing.B) {
	c := build(b, checktest.Env(b, zone))
	for _, name := range []string{"mail.example.net", "[192.0.2.10]", "friend"} {
		b.Run(name, func(b *testing.B) {
			r := checktest.Session{Client: "192.0.2.10", Helo: name}.Request(b)
			r.Stage = checks.Helo
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Check(context.Background(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
