package helo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/helo"
)

// zone has a good client, 192.0.2.10 and 2001:db8::10, whose name is mail.example.net, and names with one fault each.
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
	want               string // ids
	unknown            bool   // something could not be found out
}

// run asks about each case; the client is 192.0.2.10 if a case has none.
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
			s := checktest.Session{Client: client, Helo: test.helo}.Request(t)
			vs, err := checktest.Ask(t, helo.Info, c, s)
			if got := strings.Join(checktest.IDs(vs), " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if (err != nil) != test.unknown {
				t.Errorf("error %v, want one: %v", err, test.unknown)
			}
		})
	}
}

func TestForm(t *testing.T) {
	run(t, []testCase{
		{name: "the client's name", helo: "mail.example.net"},
		{name: "in capitals", helo: "MAIL.Example.NET"},
		{name: "with a dot at its end", helo: "mail.example.net."},
		{name: "a name that begins with a digit", helo: "3com.example.net"},
		{name: "a name that begins like an address", helo: "192.0.2.example.net"},
		{name: "an internationalised name as A-labels", helo: "xn--bcher-kva.example"},

		{name: "MAIL without HELO", helo: "", want: "helo-missing"},

		{name: "an internationalised name as U-labels", helo: "bücher.example", want: "helo-syntax"},
		{name: "two words", helo: "mail example", want: "helo-syntax"},
		{name: "a hyphen at the edge of a label", helo: "mail-.example.net", want: "helo-syntax"},
		{name: "two dots", helo: "mail..example.net", want: "helo-syntax"},
		{name: "two dots at the end", helo: "mail.example.net..", want: "helo-syntax"},
		{name: "a dot alone", helo: ".", want: "helo-syntax"},
		{name: "a dot in front", helo: ".example.net", want: "helo-syntax"},
		{name: "a label of 63 octets", helo: strings.Repeat("a", 63) + ".example.net", want: "helo-unresolvable helo-mismatch"},
		{name: "a label of 64 octets", helo: strings.Repeat("a", 64) + ".example.net", want: "helo-syntax"},
		{name: "a name of over 255 octets", helo: strings.Repeat("abcdefg.", 32) + "net", want: "helo-syntax"},
		{name: "an address with at sign", helo: "user@example.net", want: "helo-syntax"},
		{name: "markup", helo: "<script>", want: "helo-syntax"},
		{name: "hostile bytes", helo: "a\r\n250 \x00\xff", want: "helo-syntax"},
		{name: "an unfinished literal", helo: "[192.0.2.10", want: "helo-syntax"},
		{name: "a literal without an address", helo: "[mail.example.net]", want: "helo-syntax"},
		{name: "an empty literal", helo: "[]", want: "helo-syntax"},
		{name: "a literal that is out of range", helo: "[192.0.2.256]", want: "helo-syntax"},
		{name: "a literal with an unknown tag", helo: "[X400:192.0.2.10]", want: "helo-syntax"},

		{name: "an underscore", helo: "under_score.example.net", want: "helo-underscore"},
		{name: "an underscore does not hide what is worse", helo: "MY_PC", want: "helo-underscore helo-not-fqdn helo-unresolvable helo-mismatch"},
		{name: "an underscore and another fault", helo: "my_pc-", want: "helo-syntax"},

		{name: "an IPv4 address", helo: "192.0.2.10", want: "helo-bare-ip"},
		{name: "an IPv4 address with a dot at its end", helo: "192.0.2.10.", want: "helo-bare-ip"},
		{name: "an IPv4 address with zeros in front", helo: "192.000.002.010", want: "helo-bare-ip"},
		{name: "an IPv6 address", helo: "2001:db8::10", want: "helo-bare-ip"},
		{name: "an IPv6 address with its tag", helo: "ipv6:2001:db8::10", want: "helo-bare-ip"},
		{name: "an IPv6 address with its zone", helo: "fe80::1%eth0", want: "helo-bare-ip"},
		{name: "four numbers that are no address", helo: "300.1.2.3", want: "helo-unresolvable helo-mismatch"},

		{name: "a single label", helo: "friend", want: "helo-not-fqdn helo-unresolvable helo-mismatch"},
		{name: "a single label with a dot at its end", helo: "friend.", want: "helo-not-fqdn helo-unresolvable helo-mismatch"},
		{name: "a single label that resolves", helo: "single", want: "helo-not-fqdn"},
	})
}

func TestLiteral(t *testing.T) {
	const v6 = "2001:db8::10"
	run(t, []testCase{
		{name: "the client's own address", helo: "[192.0.2.10]"},
		{name: "with zeros in front", helo: "[192.000.002.010]"},
		{name: "an IPv6 client's own address", client: v6, helo: "[IPv6:2001:db8::10]"},
		{name: "with another tag case and in long form", client: v6, helo: "[ipv6:2001:0DB8:0:0:0:0:0:10]"},
		{name: "without the tag", client: v6, helo: "[2001:db8::10]"},
		{name: "an IPv4-mapped address of an IPv4 client", helo: "[IPv6:::ffff:192.0.2.10]"},
		{name: "of a link-local client", client: "fe80::10%eth0", helo: "[IPv6:fe80::10]"},
		{name: "nothing is known of the client", client: "unknown", helo: "[192.0.2.10]"},

		{name: "a neighbour in the /24", helo: "[192.0.2.255]", want: "helo-literal-near"},
		{name: "the next /24", helo: "[192.0.3.10]", want: "helo-literal"},
		{name: "a neighbour in the /64", client: v6, helo: "[IPv6:2001:db8::ffff:10]", want: "helo-literal-near"},
		{name: "the next /64", client: v6, helo: "[IPv6:2001:db8:0:1::10]", want: "helo-literal"},
		{name: "a private address behind a router", helo: "[192.168.1.5]", want: "helo-literal"},
		{name: "loopback", helo: "[127.0.0.1]", want: "helo-literal"},
		{name: "the other family", client: v6, helo: "[192.0.2.10]", want: "helo-literal"},
		{name: "without the tag, elsewhere", client: v6, helo: "[2001:db9::10]", want: "helo-literal"},
		{name: "our own address is judged as any other", helo: "[203.0.113.1]", want: "helo-literal"},
	})
}

func TestOwnName(t *testing.T) {
	run(t, []testCase{
		{name: "our host name", helo: "mx.example.org", want: "helo-own-name helo-mismatch"},
		{name: "our host name in capitals with a last dot", helo: "MX.EXAMPLE.ORG.", want: "helo-own-name helo-mismatch"},
		{name: "one of our domains", helo: "example.org", want: "helo-own-name helo-mismatch"},
		{name: "one of the names in the settings", helo: "spare.example.org", want: "helo-own-name helo-unresolvable helo-mismatch"},
		{name: "a host below our domain is another one", helo: "mail.example.org"},
		{name: "our address without brackets", helo: "203.0.113.1", want: "helo-bare-ip helo-own-name"},
		{name: "our address without brackets, from ourselves", client: "203.0.113.1", helo: "203.0.113.1", want: "helo-bare-ip"},
		{name: "our host name that resolves to the client", client: "192.0.2.40", helo: "mx.example.org"},
		{name: "our domain whose SPF record passes the client", client: "192.0.2.50", helo: "example.org", want: "helo-mismatch"},
		{name: "a pass that anybody gets is none", helo: "wide.example.org", want: "helo-own-name helo-mismatch"},
		{name: "nothing is known of the client", client: "unknown", helo: "example.org"},

		{name: "SPF fails to answer", helo: "spfless.example.org", want: "helo-mismatch", unknown: true},
		{name: "the address fails to answer", helo: "unknown.example.org", unknown: true},
		{name: "the address fails to answer, but SPF passes", client: "192.0.2.50", helo: "unknown.example.org", unknown: true},
	})
}

func TestDNS(t *testing.T) {
	const v6 = "2001:db8::10"
	run(t, []testCase{
		{name: "a PTR name that does not resolve to the client", helo: "second.example.net"},
		{name: "a name with several addresses, one of them the client's", helo: "forward.example.net"},
		{name: "an IPv6 client's name", client: v6, helo: "mail.example.net"},
		{name: "an IPv6 client and a name with IPv6 alone", client: v6, helo: "v6.example.net"},
		{name: "nothing is known of the client", client: "unknown", helo: "elsewhere.example.net"},

		{name: "a name that does not exist", helo: "nowhere.example.net", want: "helo-unresolvable helo-mismatch"},
		{name: "a name without address", helo: "text.example.net", want: "helo-unresolvable helo-mismatch"},
		{name: "a name that does not exist and nothing known of the client", client: "unknown", helo: "nowhere.example.net", want: "helo-unresolvable"},
		{name: "an alias of the client's name", helo: "alias.example.net", want: "helo-cname"},
		{name: "an alias that leads nowhere", helo: "dangling.example.net", want: "helo-unresolvable helo-cname helo-mismatch"},
		{name: "a name with another address", helo: "elsewhere.example.net", want: "helo-mismatch"},
		{name: "an IPv6 client and a name with IPv4 alone", client: v6, helo: "v4.example.net", want: "helo-mismatch"},
		{name: "an IPv4 client and a name with IPv6 alone", helo: "v6.example.net", want: "helo-mismatch"},

		{name: "SERVFAIL is no verdict", helo: "broken.example.net", unknown: true},
		{name: "a time-out is no verdict", helo: "slow.example.net", unknown: true},
		{name: "a failure of the client's family is no verdict", helo: "half4.example.net", unknown: true},
		{name: "a failure of the client's family does not matter to another client", client: "2001:db8::99", helo: "half4.example.net"},
		{name: "a failure of the other family does not matter", helo: "half6.example.net"},
		{name: "a failure of the other family leaves open whether the name exists", helo: "empty6.example.net", want: "helo-mismatch", unknown: true},
		{name: "one family shows the alias", client: v6, helo: "aliased6.example.net", want: "helo-cname"},
		{name: "one family shows the alias, the other might be the client's", helo: "aliased6.example.net", want: "helo-cname", unknown: true},
		{name: "a failure of the reverse zone is no mismatch", client: "192.0.2.30", helo: "elsewhere.example.net", unknown: true},
		{name: "a failure of the reverse zone hides nothing else", client: "192.0.2.30", helo: "nowhere.example.net", want: "helo-unresolvable", unknown: true},
	})
}

func TestSecondHelo(t *testing.T) {
	t.Parallel()
	c := build(t, checktest.Env(t, zone))
	for _, test := range []struct{ name, first, second, want string }{
		{name: "the same name again", first: "mail.example.net", second: "mail.example.net"},
		{name: "the same name in capitals", first: "mail.example.net", second: "MAIL.example.net."},
		{name: "another good name", first: "mail.example.net", second: "v4.example.net", want: "helo-changed"},
		{name: "from a bad name to a good one", first: "friend", second: "mail.example.net", want: "helo-changed"},
		{name: "from a good name to a bad one", first: "mail.example.net", second: "a b", want: "helo-syntax helo-changed"},
		{name: "a literal after a name", first: "mail.example.net", second: "[192.0.2.10]", want: "helo-changed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := checktest.Session{Client: "192.0.2.10", Helo: test.first, Again: test.second}.Request(t)
			vs, err := checktest.Ask(t, helo.Info, c, s)
			if got := strings.Join(checktest.IDs(vs), " "); got != test.want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
	t.Run("the repeat after STARTTLS is none", func(t *testing.T) {
		t.Parallel()
		s := checktest.Session{Client: "192.0.2.10", Helo: "v4.example.net"}.Request(t)
		s.SetHelo("mail.example.net", true)
		if vs, err := checktest.Ask(t, helo.Info, c, s); len(vs) > 0 || err != nil {
			t.Errorf("got %q, %v", checktest.IDs(vs), err)
		}
	})
}

func TestDetail(t *testing.T) {
	t.Parallel()
	c := build(t, checktest.Env(t, zone))
	for _, test := range []struct{ client, helo, again, reason, key, want string }{
		{"192.0.2.10", "a b", "", "helo-syntax", "fault", `" " is not allowed in a domain`},
		{"192.0.2.10", "192.000.2.9", "", "helo-bare-ip", "literal", "[192.0.2.9]"},
		{"192.0.2.10", "2001:DB8::9", "", "helo-bare-ip", "literal", "[IPv6:2001:db8::9]"},
		{"192.0.2.10", "alias.example.net", "", "helo-cname", "target", "mail.example.net"},
		{"192.0.2.10", "friend", "mail.example.net", "helo-changed", "previous", "friend"},
	} {
		s := checktest.Session{Client: test.client, Helo: test.helo, Again: test.again}.Request(t)
		vs, _ := checktest.Ask(t, helo.Info, c, s)
		i := slices.IndexFunc(vs, func(v checks.Verdict) bool { return v.Reason.ID == test.reason })
		if i < 0 {
			t.Errorf("%s: no %s", test.helo, test.reason)
		} else if got := vs[i].Detail[test.key]; got != test.want {
			t.Errorf("%s: %s is %q, want %q", test.helo, test.key, got, test.want)
		}
	}
}

func TestEveryQuestionIsAnnounced(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	for _, name := range []string{
		"", "mail.example.net", "alias.example.net", "dangling.example.net", "under_score.example.net", "friend",
		"192.0.2.10", "[192.0.2.10]", "a b", "elsewhere.example.net.",
	} {
		s := checktest.Session{Client: "192.0.2.10", Helo: name, MailFrom: "user@example.net"}.Request(t)
		rec := &checktest.Recorder{Resolver: env.DNS}
		recorded := env
		recorded.DNS = rec
		c := build(t, recorded)
		announced := checktest.Announced(t, c, env.DNS, s)
		if _, err := checktest.Ask(t, helo.Info, c, s); err != nil {
			t.Error(err)
		}
		for _, q := range rec.Asked() {
			if !slices.Contains(announced, q) {
				t.Errorf("%s: %s was asked and not announced", name, q)
			}
		}
		if strings.ContainsAny(name, "[ ") || name == "192.0.2.10" {
			if asked := rec.Asked(); len(asked) > 0 {
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
			t.Errorf("%q was taken for a name", bad)
		}
	}
}

// An empty host name must not make the empty name ours.
func TestSiteWithoutNames(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	env.Site = checks.Site{}
	c := checktest.Build[settings](t, helo.Info, env, nil)
	s := checktest.Session{Client: "192.0.2.10", Helo: "mail.example.net"}.Request(t)
	if vs, err := checktest.Ask(t, helo.Info, c, s); len(vs) > 0 || err != nil {
		t.Errorf("got %q, %v", checktest.IDs(vs), err)
	}
}

func BenchmarkCheck(b *testing.B) {
	c := build(b, checktest.Env(b, zone))
	for _, name := range []string{"mail.example.net", "[192.0.2.10]", "friend"} {
		b.Run(name, func(b *testing.B) {
			s := checktest.Session{Client: "192.0.2.10", Helo: name}.Request(b)
			s.Stage = checks.Helo
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Check(context.Background(), s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// lossy loses all answers while it is down.
type lossy struct {
	checks.Resolver
	down bool
}

func (r *lossy) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if r.down {
		return checks.Answer{}, errors.New("time-out")
	}
	return r.Resolver.Lookup(ctx, q)
}

// TestALostAnswerCostsOneMail: a connection goes on for hours, and what could not be found out for one mail is asked for again with
// the next one.
func TestALostAnswerCostsOneMail(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	dns := &lossy{env.DNS, true}
	env.DNS = checks.Traced(dns)
	opts := checks.Options{Actions: map[string]checks.Action{}, ReplyAt: checks.RcptTo, Budget: 8 * time.Second, OnError: checks.Tempfail}
	for _, r := range helo.Info.Reasons {
		opts.Actions[r.ID] = checks.Reject
	}
	p, err := checks.New([]checks.Instance{{Info: helo.Info, Check: checktest.Build[struct{}](t, helo.Info, env, nil)}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	s := checktest.Session{Client: "192.0.2.10"}.Session(t)
	run := p.NewRun(s)
	run.Judge(t.Context(), checks.Connect)
	s.SetHelo("forward.example.net", false)
	run.Judge(t.Context(), checks.Helo)
	for _, want := range []string{"451 4.4.3", ""} {
		s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress("a@example.net")}
		run.Judge(t.Context(), checks.MailFrom)
		s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("u@example.org")}}
		got := ""
		if r := run.Judge(t.Context(), checks.RcptTo).Reply; r != nil {
			got = fmt.Sprint(r.Code, " ", r.Enhanced)
		}
		if got != want {
			t.Errorf("DNS down: %t: got %q, want %q", dns.down, got, want)
		}
		dns.down = false
	}
}
