package facts_test

import (
	"context"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts"
)

const identityZone = `
10.2.0.192.in-addr.arpa.    PTR  mail1.out.example.co.uk.
mail1.out.example.co.uk.    A    192.0.2.10
11.2.0.192.in-addr.arpa.    PTR  dsl-192-0-2-11.isp.example.
dsl-192-0-2-11.isp.example. A    192.0.2.11
12.2.0.192.in-addr.arpa.    PTR  dsl-192-0-2-12.isp.example. ; does not resolve to the client
13.2.0.192.in-addr.arpa.    PTR  192-0-2-13.isp.example.
13.2.0.192.in-addr.arpa.    PTR  mail.example.net.
192-0-2-13.isp.example.     A    192.0.2.13
mail.example.net.           A    192.0.2.13
14.2.0.192.in-addr.arpa.    PTR  co.uk.
co.uk.                      A    192.0.2.14
!SERVFAIL 15.2.0.192.in-addr.arpa
16.2.0.192.in-addr.arpa.    PTR  slow.example.com.
16.2.0.192.in-addr.arpa.    PTR  mail.example.net.
mail.example.net.           A    192.0.2.16
17.2.0.192.in-addr.arpa.    PTR  192-0-2-17.isp.example.
17.2.0.192.in-addr.arpa.    PTR  slow.example.com.
192-0-2-17.isp.example.     A    192.0.2.17
18.2.0.192.in-addr.arpa.    PTR  192-0-2-18.isp.example.
18.2.0.192.in-addr.arpa.    PTR  192-0-2-18.slow.example.com.
192-0-2-18.isp.example.     A    192.0.2.18
!TIMEOUT 192-0-2-18.slow.example.com
9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR v6.example.net.
v6.example.net.             AAAA 2001:db8::9
send.example.com.           TXT  "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8:0:1::/64 -all"
dsl-192-0-2-98.isp.example. TXT  "v=spf1 ip4:192.0.2.98 -all"
wide.example.com.           TXT  "v=spf1 ip4:0.0.0.0/0 -all"
example.co.uk.              TXT  "v=spf1 -all"
!TIMEOUT slow.example.com
`

func TestClientIdentity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, client, helo, from string
		want, narrow             string
		unknown                  bool
	}{
		{name: "a confirmed name", client: "192.0.2.10", from: "a@x.example", want: "example.co.uk", narrow: "example.co.uk 192.0.2.0/24"},
		{name: "a confirmed name before SPF", client: "192.0.2.10", from: "a@send.example.com", want: "example.co.uk", narrow: "example.co.uk 192.0.2.0/24"},
		{name: "an IPv6 client's name", client: "2001:db8::9", from: "a@x.example", want: "example.net", narrow: "example.net 2001:db8::/64"},
		{name: "SPF", client: "192.0.2.99", from: "a@send.example.com", want: "send.example.com", narrow: "send.example.com"},
		{name: "SPF of IPv6", client: "2001:db8:0:1::7", from: "a@send.example.com", want: "send.example.com", narrow: "send.example.com"},
		{name: "SPF of the HELO name for a bounce", client: "192.0.2.99", helo: "send.example.com", want: "example.com", narrow: "example.com 192.0.2.0/24"},
		{name: "SPF of a HELO name that spells the address, for a bounce", client: "192.0.2.98", helo: "dsl-192-0-2-98.isp.example",
			want: "dsl-192-0-2-98.isp.example", narrow: "dsl-192-0-2-98.isp.example"},
		{name: "SPF before a name that spells the address", client: "192.0.2.11", from: "a@send.example.com", want: "send.example.com", narrow: "send.example.com"},
		{name: "a pass that is too wide", client: "192.0.2.99", from: "a@wide.example.com", want: "192.0.2.0/24", narrow: "192.0.2.0/24"},
		{name: "a name that spells the address", client: "192.0.2.11", from: "a@x.example", want: "192.0.2.11", narrow: "192.0.2.11"},
		{name: "a name that spells the address and is not confirmed", client: "192.0.2.12", from: "a@x.example", want: "192.0.2.12", narrow: "192.0.2.12"},
		{name: "a name that spells the address beside another", client: "192.0.2.13", from: "a@x.example", want: "example.net", narrow: "example.net 192.0.2.0/24"},
		{name: "a public suffix as name", client: "192.0.2.14", from: "a@x.example", want: "192.0.2.0/24", narrow: "192.0.2.0/24"},
		{name: "no name and no SPF", client: "192.0.2.99", from: "a@x.example", want: "192.0.2.0/24", narrow: "192.0.2.0/24"},
		{name: "no name and no SPF, IPv6", client: "2001:db8:1:2:3::4", from: "a@x.example", want: "2001:db8:1:2::/64", narrow: "2001:db8:1:2::/64"},
		{name: "an address literal as sender", client: "192.0.2.99", from: "a@[192.0.2.99]", want: "192.0.2.0/24", narrow: "192.0.2.0/24"},
		{name: "the reverse DNS fails", client: "192.0.2.15", from: "a@x.example", want: "192.0.2.0/24", narrow: "192.0.2.0/24", unknown: true},
		{name: "the reverse DNS fails, SPF passes", client: "192.0.2.15", from: "a@send.example.com", want: "send.example.com", narrow: "send.example.com"},
		{name: "a name that spells the address beside another without an answer", client: "192.0.2.17", from: "a@x.example",
			want: "192.0.2.17", narrow: "192.0.2.17", unknown: true},
		{name: "two names that spell the address, one of them without an answer", client: "192.0.2.18", from: "a@x.example",
			want: "192.0.2.18", narrow: "192.0.2.18"},
		{name: "SPF fails", client: "192.0.2.99", from: "a@slow.example.com", want: "192.0.2.0/24", narrow: "192.0.2.0/24", unknown: true},
		{name: "a client without address", from: "a@send.example.com", want: "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, identityZone)
			r := checktest.Session{Client: c.client, Helo: c.helo, MailFrom: c.from}.Request(t)
			id, err := facts.ClientIdentity(context.Background(), env, r)
			if (err != nil) != c.unknown {
				t.Errorf("error %v", err)
			}
			if id.String() != c.want || id.Narrow() != c.narrow {
				t.Errorf("got %q, narrow %q, want %q, %q", id, id.Narrow(), c.want, c.narrow)
			}
		})
	}
}

func TestPrefetchIdentity(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, identityZone)
	for _, c := range []checktest.Session{
		{Client: "192.0.2.10", MailFrom: "a@send.example.com"}, {Client: "192.0.2.99", MailFrom: "a@wide.example.com"}, {MailFrom: "a@x.example"},
	} {
		rec := &checktest.Recorder{Resolver: env.DNS}
		recorded := env
		recorded.DNS = rec
		prefetched := checktest.Prefetched(t, prefetcher{}, env.DNS, c.Request(t))
		if _, err := facts.ClientIdentity(context.Background(), recorded, c.Request(t)); err != nil {
			t.Error(err)
		}
		for _, q := range rec.Asked() {
			found := false
			for _, a := range prefetched {
				found = found || a == q
			}
			if !found {
				t.Errorf("%+v: %s was not prefetched", c, q)
			}
		}
	}
}

// prefetcher is a check that prefetches the questions of ClientIdentity.
type prefetcher struct{}

func (prefetcher) Check(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, nil }

func (prefetcher) Prefetch(r *checks.Request) []checks.Query { return facts.PrefetchIdentity(r) }

func TestSenderVerified(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, client, from string
		want, unknown      bool
	}{
		{name: "a confirmed name under the sender's domain", client: "192.0.2.10", from: "a@example.co.uk", want: true},
		{name: "the sender's domain under the confirmed name", client: "192.0.2.10", from: "a@sub.mail1.out.example.co.uk"},
		{name: "another domain", client: "192.0.2.10", from: "a@x.example"},
		{name: "SPF", client: "192.0.2.99", from: "a@send.example.com", want: true},
		{name: "a pass that is too wide", client: "192.0.2.99", from: "a@wide.example.com"},
		{name: "a name that spells the address", client: "192.0.2.11", from: "a@isp.example"},
		{name: "a name that does not resolve to the client", client: "192.0.2.12", from: "a@isp.example"},
		{name: "a public suffix as the sender's domain", client: "192.0.2.10", from: "a@co.uk"},
		{name: "a bounce", client: "192.0.2.10", from: ""},
		{name: "an address literal", client: "192.0.2.10", from: "a@[192.0.2.10]"},
		{name: "a client without address", from: "a@send.example.com"},
		{name: "the reverse DNS fails", client: "192.0.2.15", from: "a@example.co.uk", unknown: true},
		{name: "one of two names could not be confirmed", client: "192.0.2.16", from: "a@slow.example.com", unknown: true},
		{name: "one of two names could not be confirmed, another domain's", client: "192.0.2.16", from: "a@example.co.uk"},
		{name: "the reverse DNS fails, SPF passes", client: "192.0.2.15", from: "a@send.example.com", want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, identityZone)
			r := checktest.Session{Client: c.client, MailFrom: c.from}.Request(t)
			got, err := facts.SenderVerified(context.Background(), env, r)
			if got != c.want || (err != nil) != c.unknown {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
