package dnsbl_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dnsbl"
)

// The test points of healthy lists, RFC 5782 section 5: for IPv4, for IPv6, and for names.
const (
	points4 = "2.0.0.127.%[1]s. A 127.0.0.2\n"
	points6 = "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.%[1]s. A 127.0.0.2\n"
	pointsN = "test.%[1]s. A 127.0.0.2\n"
)

// list returns the zone text of a healthy list with some entries.
func list(points, domain, entries string) string {
	return fmt.Sprintf(points, domain) + strings.ReplaceAll(entries, "@", domain+".") + "\n"
}

func codes(t testing.TB, texts ...string) []dnsbl.Codes {
	t.Helper()
	out := make([]dnsbl.Codes, len(texts))
	for i, text := range texts {
		if err := out[i].UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// zone returns a block list with the usual codes.
func zone(t testing.TB, domain string, query dnsbl.Query) dnsbl.Zone {
	return dnsbl.Zone{Zone: domain, Codes: codes(t, "127.0.0.2-127.0.0.11"), Query: query}
}

// dnsblCheck is the check, with the optional interfaces that it implements.
type dnsblCheck interface {
	checks.Check
	checks.Prefetcher
	checks.Maintainer
	checks.Reloader
}

// untested returns the check.
func untested(t testing.TB, env checks.Env, zones ...dnsbl.Zone) dnsblCheck {
	t.Helper()
	return checktest.Build(t, dnsbl.Info, env, func(c *dnsbl.Settings) { c.Zones = zones }).(dnsblCheck)
}

// build returns the check after a test of its zones.
func build(t testing.TB, env checks.Env, zones ...dnsbl.Zone) dnsblCheck {
	t.Helper()
	c := untested(t, env, zones...)
	c.Maintain(context.Background(), checktest.Now)
	return c
}

func ask(t testing.TB, c checks.Check, r *checks.Request) ([]checks.Verdict, error) {
	t.Helper()
	return checktest.Ask(t, dnsbl.Info, c, r)
}

// ids returns the reasons and vouches of verdicts in one line.
func ids(vs []checks.Verdict) string {
	var out []string
	for _, v := range vs {
		if v.Reason != nil {
			out = append(out, v.Reason.ID+" by "+v.Detail["zone"])
		}
		if v.Unsure {
			out = append(out, "may have a vouch")
		} else if v.Vouch != checks.NoVouch {
			out = append(out, "vouch by "+v.Detail["zone"])
		}
	}
	return strings.Join(out, ", ")
}

// states returns the states of the zones in one line.
func states(c checks.Maintainer) string {
	var out []string
	for _, z := range c.Report() {
		out = append(out, z.State)
	}
	return strings.Join(out, " ")
}

const reverse6 = "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2."

func TestSubjects(t *testing.T) {
	t.Parallel()
	world := list(points4, "bl.example", "9.2.0.192.@ A 127.0.0.2\n"+reverse6+"@ A 127.0.0.3\n5.0.0.10.@ A 127.0.0.2\n1.1.0.127.@ A 127.0.0.2") +
		list(points4, "allow.example", "9.2.0.192.@ A 127.0.10.1\n10.2.0.192.@ A 127.0.10.1") +
		list(pointsN, "helo.example", "spam.example.net.@ A 127.0.0.2\nfriend.@ A 127.0.0.2\n2.0.0.127.@ A 127.0.0.2\nhost.localdomain.@ A 127.0.0.2\nunder_score.example.net.@ A 127.0.0.2") +
		list(pointsN, "sender.example", "spam.example.net.@ A 127.0.0.2") +
		list(pointsN, "name.example", "mail.example.com.@ A 127.0.0.2\nfake.example.com.@ A 127.0.0.2") +
		list(pointsN, "good.example", "good.example.com.@ A 127.0.0.2\ndsl-192-0-2-23.example.com.@ A 127.0.0.2") + `
20.2.0.192.in-addr.arpa. PTR mail.example.com.
mail.example.com.        A   192.0.2.20
21.2.0.192.in-addr.arpa. PTR fake.example.com.
fake.example.com.        A   198.51.100.1
22.2.0.192.in-addr.arpa. PTR good.example.com.
good.example.com.        A   192.0.2.22
23.2.0.192.in-addr.arpa. PTR dsl-192-0-2-23.example.com.
dsl-192-0-2-23.example.com. A 192.0.2.23
!SERVFAIL 24.2.0.192.in-addr.arpa
`
	allow := zone(t, "allow.example", dnsbl.Client)
	allow.Codes, allow.Allow = codes(t, "127.0.0.0/8"), true
	good := zone(t, "good.example", dnsbl.ClientName)
	good.Allow = true
	c := build(t, checktest.Env(t, world), allow, zone(t, "bl.example", ""), zone(t, "helo.example", dnsbl.Helo),
		zone(t, "Sender.Example.", dnsbl.Sender), zone(t, "name.example", dnsbl.ClientName), good)
	if got := states(c); got != "on on on on on on" {
		t.Fatal(got, c.Report())
	}
	for _, test := range []struct {
		name, client, helo, from string
		want                     string
		unknown                  bool
	}{
		{name: "a client on no list", client: "192.0.2.1", helo: "mail.example.net", from: "user@example.net"},
		{name: "an unknown client", helo: "mail.example.net", from: "user@example.net"},
		{name: "a listed client that is on an allow list too", client: "192.0.2.9", want: "dnsbl-listed by bl.example, vouch by allow.example"},
		{name: "a listed IPv6 client", client: "2001:db8::9", want: "dnsbl-listed by bl.example"},
		{name: "a client on the allow list", client: "192.0.2.10", want: "vouch by allow.example"},
		{name: "a private address", client: "10.0.0.5"},
		{name: "a loopback address", client: "127.0.1.1", want: "dnsbl-listed by bl.example"},

		{name: "a listed HELO name", client: "192.0.2.1", helo: "Spam.Example.NET.", want: "rhsbl-listed by helo.example"},
		{name: "a HELO name with an underscore", client: "192.0.2.1", helo: "under_score.example.net", want: "rhsbl-listed by helo.example"},
		{name: "a single label is not looked up", client: "192.0.2.1", helo: "friend"},
		{name: "an address without brackets is not looked up", client: "192.0.2.1", helo: "2.0.0.127"},
		{name: "a literal is not looked up", client: "192.0.2.1", helo: "[127.0.0.2]"},
		{name: "a name without a public domain is not looked up", client: "192.0.2.1", helo: "host.localdomain"},
		{name: "an invalid name is not looked up", client: "192.0.2.1", helo: "spam .example.net"},
		{name: "no HELO", client: "192.0.2.1", helo: ""},

		{name: "a listed sender domain", client: "192.0.2.1", from: "user@SPAM.example.net", want: "rhsbl-listed by sender.example"},
		{name: "another name of the listed domain", client: "192.0.2.1", from: "user@other.spam.example.net"},
		{name: "the null reverse-path", client: "192.0.2.1", from: ""},
		{name: "a literal as sender domain", client: "192.0.2.1", from: "user@[127.0.0.2]"},
		{name: "one domain listed as HELO and as sender", client: "192.0.2.1", helo: "spam.example.net", from: "user@spam.example.net",
			want: "rhsbl-listed by helo.example, rhsbl-listed by sender.example"},

		{name: "a listed name of the client", client: "192.0.2.20", want: "rhsbl-listed by name.example"},
		{name: "a listed name that is unconfirmed", client: "192.0.2.21"},
		{name: "a name on the allow list", client: "192.0.2.22", want: "vouch by good.example"},
		{name: "a name that has the address never vouches", client: "192.0.2.23"},
		{name: "the reverse DNS fails", client: "192.0.2.24", want: "may have a vouch", unknown: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			vs, err := ask(t, c, checktest.Session{Client: test.client, Helo: test.helo, MailFrom: test.from}.Request(t))
			if got := ids(vs); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if (err != nil) != test.unknown {
				t.Errorf("error %v, want one: %t", err, test.unknown)
			}
		})
	}
}

// TestAnswers tests which answers are a listing, and which ones switch the zone off.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, answer string // records of the client in the zone
		want, state  string
		unknown      bool
	}{
		{name: "the first code", answer: "A 127.0.0.2", want: "dnsbl-listed by bl.example", state: "on"},
		{name: "the last code", answer: "A 127.0.0.11", want: "dnsbl-listed by bl.example", state: "on"},
		{name: "a code of a network", answer: "A 127.0.1.77", want: "dnsbl-listed by bl.example", state: "on"},
		{name: "one of several codes", answer: "A 127.0.0.99\nA 127.0.0.4", want: "dnsbl-listed by bl.example", state: "on"},
		{name: "a code beyond the range", answer: "A 127.0.0.12", state: "on"},
		{name: "a code before the range", answer: "A 127.0.0.1", state: "on"},
		{name: "no A record", answer: "TXT listed", state: "on"},
		{name: "an alias of a listing", answer: "CNAME other.bl.example.\nother.bl.example. A 127.0.0.2", want: "dnsbl-listed by bl.example", state: "on"},
		{name: "an error code", answer: "A 127.255.255.254", state: "off"},
		{name: "an unknown error code", answer: "A 127.255.255.7", state: "off"},
		{name: "a code beside an error code", answer: "A 127.0.0.2\nA 127.255.255.255", state: "off"},
		{name: "an address outside 127/8", answer: "A 192.0.2.80", state: "off"},
		{name: "a code beside such an address", answer: "A 127.0.0.2\nA 192.0.2.80", state: "off"},
		{name: "SERVFAIL", answer: "!SERVFAIL", state: "on", unknown: true},
		{name: "a time-out", answer: "!TIMEOUT", state: "on", unknown: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			const client = "9.2.0.192.bl.example. "
			var entries []string
			for line := range strings.SplitSeq(test.answer, "\n") {
				switch {
				case line[0] == '!':
					line += " " + client
				case !strings.Contains(line, ". A"):
					line = client + line
				}
				entries = append(entries, line)
			}
			z := zone(t, "bl.example", dnsbl.Client)
			z.Codes = codes(t, "127.0.0.2-127.0.0.11", "127.0.1.0/24")
			c := build(t, checktest.Env(t, list(points4, "bl.example", strings.Join(entries, "\n"))), z)
			vs, err := ask(t, c, checktest.Session{Client: "192.0.2.9"}.Request(t))
			if got := ids(vs); got != test.want || states(c) != test.state || (err != nil) != test.unknown {
				t.Errorf("got %q, %s, %v; want %q, %s, error %t", got, states(c), err, test.want, test.state, test.unknown)
			}
			if st := c.Report()[0]; st.Counts["queries"] != 1 || (st.Counts["hits"] == 1) != (test.want != "") || (st.Counts["failures"] == 1) != (test.unknown || test.state == "off") {
				t.Errorf("counted %+v", st.Counts)
			}
		})
	}
}

func TestValuesInReplies(t *testing.T) {
	t.Parallel()
	world := list(points4, "one.example", "9.2.0.192.@ A 127.0.0.4\n9.2.0.192.@ A 127.0.0.2\n9.2.0.192.@ A 127.0.0.99\n"+
		`9.2.0.192.@ TXT "https://one.example/" "why"`) +
		list(points4, "two.example", "9.2.0.192.@ A 127.0.0.4") + list(points4, "three.example", "9.2.0.192.@ A 127.0.0.4") +
		list(pointsN, "dbl.example", "spam.example.net.@ A 127.0.0.2\n!TIMEOUT spam.example.net.dbl.example TXT")
	c := build(t, checktest.Env(t, world), zone(t, "one.example", ""), zone(t, "two.example", ""), zone(t, "three.example", ""),
		zone(t, "dbl.example", dnsbl.Sender))
	vs, err := ask(t, c, checktest.Session{Client: "192.0.2.9", MailFrom: "user@spam.example.net"}.Request(t))
	if err != nil || len(vs) != 2 {
		t.Fatalf("got %q, %v", ids(vs), err)
	}
	for i, want := range []map[string]string{
		{"zone": "one.example", "code": "127.0.0.2, 127.0.0.4", "lookup": "192.0.2.9", "what": "client", "text": "https://one.example/why", "also": "two.example, three.example"},
		{"zone": "dbl.example", "code": "127.0.0.2", "lookup": "spam.example.net", "what": "sender domain", "text": "the list says no more"},
	} {
		for key, value := range want {
			if got := vs[i].Detail[key]; got != value {
				t.Errorf("%s: %s is %q, want %q", vs[i].Reason.ID, key, got, value)
			}
		}
	}
}

func TestPrefetch(t *testing.T) {
	t.Parallel()
	world := list(points4, "bl.example", "9.2.0.192.@ A 127.0.0.2\n9.2.0.192.@ TXT why\n8.2.0.192.@ A 127.0.0.99") + list(points4, "allow.example", "9.2.0.192.@ A 127.0.0.2") +
		list(pointsN, "dbl.example", "mail.example.com.@ A 127.0.0.2") + `
9.2.0.192.in-addr.arpa. PTR mail.example.com.
9.2.0.192.in-addr.arpa. PTR fake.example.com.
mail.example.com.       A   192.0.2.9
fake.example.com.       A   192.0.2.8
` + reverse6 + `ip6.arpa. PTR six.example.com.
six.example.com. AAAA 2001:db8::9
`
	allow := zone(t, "allow.example", dnsbl.Client)
	allow.Allow = true
	zones := []dnsbl.Zone{
		zone(t, "bl.example", dnsbl.Client), allow, zone(t, "dbl.example", dnsbl.ClientName), zone(t, "dbl.example", dnsbl.Helo),
		zone(t, "dbl.example", dnsbl.Sender), zone(t, "gone.example", dnsbl.Client),
	}
	for _, d := range []checktest.Session{
		{Client: "192.0.2.9", Helo: "mail.example.com", MailFrom: "user@mail.example.com"},
		{Client: "192.0.2.8", Helo: "[192.0.2.8]", MailFrom: ""}, {Client: "2001:db8::9", Helo: "friend", MailFrom: "user@example.net"},
		{Helo: "mail.example.net"},
	} {
		env := checktest.Env(t, world)
		plain := env.DNS
		c := build(t, env, zones...)
		prefetched := checktest.Prefetched(t, c, plain, d.Request(t))
		rec := &checktest.Recorder{Resolver: plain}
		env.DNS = &gate{open: plain}
		c = build(t, env, zones...)
		env.DNS.(*gate).open = rec // the questions of the tests are not prefetched
		if _, err := ask(t, c, d.Request(t)); err != nil {
			t.Error(err)
		}
		if asked := rec.Asked(); !slices.Equal(asked, prefetched) {
			t.Errorf("%+v: asked %q, prefetched %q", d, asked, prefetched)
		}
		for _, q := range prefetched {
			if strings.Contains(q, "gone.example") {
				t.Errorf("%s is prefetched though the zone is off", q)
			}
		}
	}
}

// gate is a resolver that can be replaced.
type gate struct{ open checks.Resolver }

func (g *gate) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	return g.open.Lookup(ctx, q)
}

// TestReply tests the complete reply of the Pipeline.
func TestReply(t *testing.T) {
	t.Parallel()
	const key = "abcdefghij0123456789klmnop"
	world := list(points4, key+".zen.dq.example.net", "9.2.0.192.@ A 127.0.0.2\n"+`9.2.0.192.@ TXT "see 9.2.0.192.`+strings.ToUpper(key)+`.zen.dq.example.net\010\195\164 \"x\" {client} 100%"`) +
		list(pointsN, "dbl.example", "spam.example.net.@ A 127.0.0.2")
	c := build(t, checktest.Env(t, world), zone(t, strings.ToUpper(key)+".zen.dq.example.net", ""), zone(t, "dbl.example", dnsbl.Helo))
	p := checktest.Pipeline(t, checks.Options{Actions: checktest.Actions(dnsbl.Info, checks.Reject)}, checks.Instance{Info: dnsbl.Info, Check: c})
	for _, test := range []struct{ client, helo, want string }{
		{"192.0.2.9", "mail.example.net", `550 5.7.1 192.0.2.9 is listed in zen.dq.example.net: see 9.2.0.192.[key].zen.dq.example.net ?? "x" {client} 100%`},
		{"192.0.2.1", "spam.example.net", "550 5.7.1 HELO name spam.example.net is listed in dbl.example: the list says no more"},
	} {
		s := checktest.Session{Client: test.client, Helo: test.helo}.Session(t)
		if d := p.NewRun(s).Judge(t.Context(), checks.RcptTo); d.Reply == nil || d.Reply.String() != test.want {
			t.Errorf("got %v, want %s", d.Reply, test.want)
		}
	}
}
