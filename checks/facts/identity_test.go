package facts_test

import (
	"context"
	"fmt"
	"net/netip"
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
12.2.0.192.in-addr.arpa.    PTR  dsl-192-0-2-12.isp.example. ; does not lead back
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
9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR v6.example.net.
v6.example.net.             AAAA 2001:db8::9
send.example.com.           TXT  "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8:0:1::/64 -all"
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
		{name: "SPF of the HELO name for a bounce", client: "192.0.2.99", helo: "send.example.com", want: "send.example.com", narrow: "send.example.com"},
		{name: "SPF before a name that spells the address", client: "192.0.2.11", from: "a@send.example.com", want: "send.example.com", narrow: "send.example.com"},
		{name: "a pass that is too wide", client: "192.0.2.99", from: "a@wide.example.com", want: "192.0.2.0/24", narrow: "192.0.2.0/24"},
		{name: "a name that spells the address", client: "192.0.2.11", from: "a@x.example", want: "192.0.2.11", narrow: "192.0.2.11"},
		{name: "one that does not lead back", client: "192.0.2.12", from: "a@x.example", want: "192.0.2.12", narrow: "192.0.2.12"},
		{name: "one beside a better one", client: "192.0.2.13", from: "a@x.example", want: "example.net", narrow: "example.net 192.0.2.0/24"},
		{name: "a public suffix is no domain", client: "192.0.2.14", from: "a@x.example", want: "192.0.2.0/24", narrow: "192.0.2.0/24"},
		{name: "nothing", client: "192.0.2.99", from: "a@x.example", want: "192.0.2.0/24", narrow: "192.0.2.0/24"},
		{name: "nothing of IPv6", client: "2001:db8:1:2:3::4", from: "a@x.example", want: "2001:db8:1:2::/64", narrow: "2001:db8:1:2::/64"},
		{name: "an address literal as sender", client: "192.0.2.99", from: "a@[192.0.2.99]", want: "192.0.2.0/24", narrow: "192.0.2.0/24"},
		{name: "the reverse DNS fails", client: "192.0.2.15", from: "a@x.example", want: "192.0.2.0/24", narrow: "192.0.2.0/24", unknown: true},
		{name: "the reverse DNS fails beside SPF", client: "192.0.2.15", from: "a@send.example.com", want: "send.example.com", narrow: "send.example.com"},
		{name: "SPF fails", client: "192.0.2.99", from: "a@slow.example.com", want: "192.0.2.0/24", narrow: "192.0.2.0/24", unknown: true},
		{name: "an unknown client", from: "a@send.example.com", want: "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, identityZone)
			s := checktest.Session{Client: c.client, Helo: c.helo, MailFrom: c.from}.Request(t)
			id, err := facts.ClientIdentity(context.Background(), env, s)
			if (err != nil) != c.unknown {
				t.Errorf("error %v", err)
			}
			if id.String() != c.want || id.Narrow() != c.narrow {
				t.Errorf("got %q, narrow %q, want %q, %q", id, id.Narrow(), c.want, c.narrow)
			}
		})
	}
}

func TestIdentityIsAnnounced(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, identityZone)
	for _, c := range []checktest.Session{
		{Client: "192.0.2.10", MailFrom: "a@send.example.com"}, {Client: "192.0.2.99", MailFrom: "a@wide.example.com"}, {MailFrom: "a@x.example"},
	} {
		rec := &checktest.Recorder{Resolver: env.DNS}
		recorded := env
		recorded.DNS = rec
		announced := checktest.Announced(t, prefetcher{}, env.DNS, c.Request(t))
		if _, err := facts.ClientIdentity(context.Background(), recorded, c.Request(t)); err != nil {
			t.Error(err)
		}
		for _, q := range rec.Asked() {
			found := false
			for _, a := range announced {
				found = found || a == q
			}
			if !found {
				t.Errorf("%+v: %s was not announced", c, q)
			}
		}
	}
}

// prefetcher announces an identity's questions.
type prefetcher struct{}

func (prefetcher) Check(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, nil }

func (prefetcher) Prefetch(s *checks.Request) []checks.Query { return facts.IdentityAhead(s) }

func TestSenderIsClients(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, client, from string
		want, unknown      bool
	}{
		{name: "a confirmed name under the sender's domain", client: "192.0.2.10", from: "a@example.co.uk", want: true},
		{name: "the sender's domain below the name's", client: "192.0.2.10", from: "a@sub.mail1.out.example.co.uk"},
		{name: "another domain", client: "192.0.2.10", from: "a@x.example"},
		{name: "SPF", client: "192.0.2.99", from: "a@send.example.com", want: true},
		{name: "a pass that is too wide", client: "192.0.2.99", from: "a@wide.example.com"},
		{name: "a name that spells the address", client: "192.0.2.11", from: "a@isp.example"},
		{name: "a name that does not lead back", client: "192.0.2.12", from: "a@isp.example"},
		{name: "a public suffix as the sender's domain", client: "192.0.2.10", from: "a@co.uk"},
		{name: "a bounce", client: "192.0.2.10", from: ""},
		{name: "an address literal", client: "192.0.2.10", from: "a@[192.0.2.10]"},
		{name: "an unknown client", from: "a@send.example.com"},
		{name: "the reverse DNS fails", client: "192.0.2.15", from: "a@example.co.uk", unknown: true},
		{name: "one of two names could not be confirmed", client: "192.0.2.16", from: "a@slow.example.com", unknown: true},
		{name: "one of two names could not be confirmed, another domain's", client: "192.0.2.16", from: "a@example.co.uk"},
		{name: "the reverse DNS fails beside SPF", client: "192.0.2.15", from: "a@send.example.com", want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, identityZone)
			s := checktest.Session{Client: c.client, MailFrom: c.from}.Request(t)
			got, err := facts.SenderIsClients(context.Background(), env, s)
			if got != c.want || (err != nil) != c.unknown {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.9": "192.0.2.0/24", "::ffff:192.0.2.9": "192.0.2.0/24", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := facts.Network(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	if facts.Network(netip.Addr{}).IsValid() {
		t.Error("a network of nothing")
	}
}

func TestSpelled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		addr, name string
		want       bool
	}{
		{"192.0.2.77", "dsl-192-0-2-77.example.net", true},
		{"192.0.2.77", "77.2.0.192.pool.example.net", true},
		{"192.0.2.77", "h77-n2.0.192.example.net", true},
		{"192.0.2.77", "2-77.192-0.example.net", true},
		{"192.0.2.77", "host192000002077.example.net", true},
		{"192.0.2.77", "077002000192.example.net", true},
		{"192.0.2.77", "p192000.d002077.example.net", true},
		{"192.0.2.77", "ip-0-2-77.example.net", true},
		{"192.0.2.77", "ip-77-2-0.example.net", true},
		{"192.0.2.77", "C000024D.example.net", true},
		{"192.0.2.77", "xc0-00-02-4d.example.net", true},
		{"192.0.2.77", "4d0200c0.example.net", true},
		{"192.0.2.77", "n3221226061.example.net", true},
		{"192.0.2.77", "mail77.example.net", false},
		{"192.0.2.77", "mail2-77.example.net", false},
		{"192.0.2.77", "192-0-2-78.example.net", false},
		{"192.0.2.77", "1921-0-2-770.example.net", false},
		{"192.0.2.77", "mail.example.net", false},
		{"192.0.2.77", "", false},
		{"54.240.8.50", "a8-50.smtp-out.amazonses.com", false},
		{"209.85.128.41", "mail-wm1-f41.google.com", false},
		{"40.107.0.89", "mail-eopbgr00089.outbound.protection.outlook.com", false},
		{"2001:db8::211:22ff:fe33:4455", "2001-db8--211-22ff-fe33-4455.example.net", true},
		{"2001:db8::211:22ff:fe33:4455", "2001-db8-0-0-211-22ff-fe33-4455.example.net", true},
		{"2001:db8::211:22ff:fe33:4455", "20010db800000000021122fffe334455.example.net", true},
		{"2001:db8::211:22ff:fe33:4455", "5.5.4.4.3.3.e.f.f.f.2.2.1.1.2.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.example.net", true},
		{"2001:db8::211:22ff:fe33:4455", "cpe-0211-22ff-fe33-4455.example.net", true},
		{"2001:db8::5", "2001-db8--5.example.net", true},
		{"2001:db8::5", "2001-db8--51.example.net", false},
		{"2001:db8::5", "mail-0000000000000005.example.net", false},
		{"2001:db8::5", "mail5.example.net", false},
		{"::ffff:192.0.2.77", "192-0-2-77.example.net", true},
	} {
		t.Run(c.addr+" "+c.name, func(t *testing.T) {
			t.Parallel()
			if got := facts.Spelled(netip.MustParseAddr(c.addr), c.name); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
	if facts.Spelled(netip.Addr{}, "0-0-0-0.example.net") {
		t.Error("no address is spelled")
	}
}

func FuzzSpelled(f *testing.F) {
	f.Add([]byte{192, 0, 2, 77}, "dsl-192-0-2-77")
	f.Add([]byte{0, 0, 0, 0}, "0")
	f.Add([]byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 2, 0x11, 0x22, 0xff, 0xfe, 0x33, 0x44, 0x55}, "2001-db8--211-22ff-fe33-4455")
	f.Fuzz(func(t *testing.T, addr []byte, name string) {
		a, ok := netip.AddrFromSlice(addr)
		if !ok {
			return
		}
		facts.Spelled(a, name)
		if a = a.Unmap(); a.Is4() {
			o := a.As4()
			for _, form := range []string{"%d-%d-%d-%d", "%03d%03d%03d%03d", "%02x%02x%02x%02x", "%03d.%03d.%03d.%03d"} {
				if n := "x" + fmt.Sprintf(form, o[0], o[1], o[2], o[3]) + ".example.net"; !facts.Spelled(a, n) {
					t.Errorf("%s is not found in %s", a, n)
				}
				if n := fmt.Sprintf(form, o[3], o[2], o[1], o[0]) + "-pool.example.net"; !facts.Spelled(a, n) {
					t.Errorf("%s is not found in %s", a, n)
				}
			}
		} else if n := fmt.Sprintf("%x.example.net", a.As16()); !facts.Spelled(a, n) {
			t.Errorf("%s is not found in %s", a, n)
		}
	})
}
