package facts_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts"
)

// showMX returns a result of SenderMX as one line: hosts with their addresses in order, with "!" if one may be missing.
func showMX(m facts.MX, err error) string {
	if err != nil {
		return "error"
	}
	var out []string
	for flag, set := range map[string]bool{"null": m.Null, "more": m.More} {
		if set {
			out = append(out, flag)
		}
	}
	slices.Sort(out)
	for _, h := range m.Hosts {
		text := h.Name
		for _, a := range h.Addrs {
			text += " " + a.String()
		}
		if h.Err != nil {
			text += " !"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func manyMX(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "example.net. MX %d mx%d.example.net.\n", i, i)
	}
	return b.String()
}

func TestSenderMX(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, zone, from, want string }{
		{
			name: "hosts are in the order of preference, then of name",
			zone: "example.net. MX 20 c.example.net.\nexample.net. MX 10 b.example.net.\nexample.net. MX 10 A.example.net.\na.example.net. A 192.0.2.1\na.example.net. AAAA 2001:db8::1\nb.example.net. AAAA 2001:db8::2",
			want: "a.example.net 192.0.2.1 2001:db8::1, b.example.net 2001:db8::2, c.example.net",
		},
		{
			name: "a host that occurs twice counts once, with the better preference",
			zone: "example.net. MX 20 a.example.net.\nexample.net. MX 10 a.example.net.",
			want: "a.example.net",
		},
		{
			name: "a host that is an alias has the addresses of its target",
			zone: "example.net. MX 10 a.example.net.\na.example.net. CNAME b.example.net.\nb.example.net. A 192.0.2.1",
			want: "a.example.net 192.0.2.1",
		},
		{
			name: "a domain that is an alias has the mail hosts of its target",
			zone: "example.net. CNAME example.com.\nexample.com. MX 10 a.example.com.\na.example.com. A 192.0.2.1",
			want: "a.example.com 192.0.2.1",
		},
		{name: "a null MX", zone: "example.net. MX 0 .", want: "null"},
		{name: "a null MX with another preference", zone: "example.net. MX 10 .", want: "null"},
		{name: "a null MX beside a host is ignored", zone: "example.net. MX 0 .\nexample.net. MX 10 a.example.net.", want: "a.example.net"},
		{name: "no MX, an IPv4 address", zone: "example.net. A 192.0.2.1", want: "example.net 192.0.2.1"},
		{name: "no MX, an IPv6 address", zone: "example.net. AAAA 2001:db8::1", want: "example.net 2001:db8::1"},
		{name: "nothing but a TXT record", zone: "example.net. TXT x", want: ""},
		{name: "a domain that does not exist", want: ""},
		{name: "the MX question fails", zone: "!SERVFAIL example.net MX\nexample.net. A 192.0.2.1", want: "error"},
		{name: "the MX question times out", zone: "!TIMEOUT example.net MX", want: "error"},
		{name: "no MX, and one of the families fails", zone: "example.net. TXT x\n!TIMEOUT example.net AAAA", want: "error"},
		{name: "no MX, an address, and the other family fails", zone: "example.net. A 192.0.2.1\n!TIMEOUT example.net AAAA", want: "example.net 192.0.2.1 !"},
		{name: "the addresses of one host fail", zone: "example.net. MX 10 a.example.net.\nexample.net. MX 20 b.example.net.\n!SERVFAIL a.example.net\nb.example.net. A 192.0.2.1", want: "a.example.net !, b.example.net 192.0.2.1"},
		{name: "the null reverse-path has no domain", zone: "example.net. MX 10 a.example.net.", from: "<>", want: ""},
		{name: "an address literal has no domain", from: "user@[192.0.2.1]", want: ""},
		{name: "a source route is ignored", zone: "example.net. A 192.0.2.1\n!SERVFAIL relay.example.com", from: "<@relay.example.com:user@example.net>", want: "example.net 192.0.2.1"},
		{name: "a domain in capitals with a last dot", zone: "example.net. A 192.0.2.1", from: "user@EXAMPLE.net.", want: "example.net 192.0.2.1"},
		{name: "U-labels become A-labels", zone: "xn--bcher-kva.example. A 192.0.2.1", from: "user@bücher.example", want: "xn--bcher-kva.example 192.0.2.1"},
		{name: "ten hosts", zone: manyMX(10), want: "mx0.example.net, mx1.example.net, mx2.example.net, mx3.example.net, mx4.example.net, mx5.example.net, mx6.example.net, mx7.example.net, mx8.example.net, mx9.example.net"},
		{name: "more than ten hosts", zone: manyMX(12), want: "more, mx0.example.net, mx1.example.net, mx2.example.net, mx3.example.net, mx4.example.net, mx5.example.net, mx6.example.net, mx7.example.net, mx8.example.net, mx9.example.net"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.from == "" {
				test.from = "user@example.net"
			}
			env := checktest.Env(t, test.zone)
			rec := &checktest.Recorder{Resolver: env.DNS}
			env.DNS = rec
			r := checktest.Session{MailFrom: test.from}.Request(t)
			for range 2 {
				if got := showMX(facts.SenderMX(context.Background(), env, r)); got != test.want {
					t.Errorf("got  %s\nwant %s", got, test.want)
				}
			}
			for _, q := range rec.Asked() {
				if n := rec.Times(q); n != 1 {
					t.Errorf("%s was asked %d times", q, n)
				}
			}
		})
	}
}

// mxPrefetcher asks the questions of SenderMX in advance.
type mxPrefetcher struct{ prefetcher }

func (mxPrefetcher) Prefetch(r *checks.Request) []checks.Query {
	if r.Stage != checks.MailFrom {
		return nil
	}
	return facts.PrefetchMX(r)
}

// TestAddressFamilies tests that no more is asked than whether the client is a mail host and whether each host is reachable, and that
// all of it is asked in advance.
func TestAddressFamilies(t *testing.T) {
	t.Parallel()
	const mx = "example.net. MX 10 a.example.net.\n"
	const both = mx + "a.example.net. A 11.22.33.44\na.example.net. AAAA 2600::1"
	for _, test := range []struct{ name, client, zone, want, asked string }{
		{name: "an IPv4 client", client: "192.0.2.9", zone: both, want: "a.example.net 11.22.33.44", asked: "A"},
		{name: "an IPv6 client", client: "2001:db8::9", zone: both, want: "a.example.net 2600::1", asked: "AAAA"},
		{name: "no client", zone: both, want: "a.example.net 11.22.33.44 2600::1", asked: "A AAAA"},
		{name: "an IPv4 client, a host with IPv6 only", client: "192.0.2.9", zone: mx + "a.example.net. AAAA 2600::1", want: "a.example.net 2600::1", asked: "A AAAA"},
		{name: "an IPv6 client, a host with IPv4 only", client: "2001:db8::9", zone: mx + "a.example.net. A 11.22.33.44", want: "a.example.net 11.22.33.44", asked: "AAAA A"},
		{name: "a host whose address of the client's family is private", client: "192.0.2.9", zone: mx + "a.example.net. A 10.0.0.1\na.example.net. AAAA 2600::1", want: "a.example.net 10.0.0.1 2600::1", asked: "A AAAA"},
		{name: "a host without address", client: "192.0.2.9", zone: mx, want: "a.example.net", asked: "A AAAA"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, test.zone)
			rec := &checktest.Recorder{Resolver: env.DNS}
			env.DNS = rec
			r := checktest.Session{Client: test.client, MailFrom: "user@example.net"}.Request(t)
			if got := showMX(facts.SenderMX(t.Context(), env, r)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			want := []string{"example.net. MX"}
			for _, family := range strings.Fields(test.asked) {
				want = append(want, "a.example.net. "+family)
			}
			slices.Sort(want)
			if asked := rec.Asked(); !slices.Equal(asked, want) {
				t.Errorf("asked %q, want %q", asked, want)
			}
			if got := checktest.Prefetched(t, mxPrefetcher{}, rec.Resolver, r); !slices.Equal(got, []string{"a.example.net. A", "a.example.net. AAAA", "example.net. MX"}) {
				t.Errorf("prefetched %q", got)
			}
		})
	}
}

// TestManyAddresses tests that of a host with very many addresses those are kept that a check judges by.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	var zone strings.Builder
	zone.WriteString("example.net. MX 10 a.example.net.\n")
	for i := range 300 {
		fmt.Fprintf(&zone, "a.example.net. A 10.0.%d.%d\n", i>>8, i&255)
	}
	zone.WriteString("a.example.net. A 11.22.33.44\na.example.net. A 192.0.2.9\n")
	env := checktest.Env(t, zone.String())
	mx, err := facts.SenderMX(t.Context(), env, checktest.Session{Client: "192.0.2.9", MailFrom: "a@example.net"}.Request(t))
	if err != nil || len(mx.Hosts) != 1 || mx.Hosts[0].Err != nil {
		t.Fatalf("%+v, %v", mx, err)
	}
	h := mx.Hosts[0]
	if len(h.Addrs) > 100 || !slices.Contains(h.Addrs, netip.MustParseAddr("192.0.2.9")) || !h.Reachable() {
		t.Errorf("kept %v", h.Addrs)
	}
}

// TestManyMX tests that the hosts of a hostile answer are put in order without work for each pair that is compared.
func TestManyMX(t *testing.T) {
	// Not parallel, because of AllocsPerRun.
	const hosts, most = 1500, 10 // allocations per host: a name in capitals needs one whenever it is looked at
	var a checks.Answer
	for i := range hosts {
		a.Records = append(a.Records, &dns.MX{Mx: fmt.Sprintf("MX%d.EXAMPLE.NET.", (i*7919)%hosts)})
	}
	r := checktest.Session{Client: "192.0.2.9", MailFrom: "a@example.net"}.Request(t)
	queries := facts.PrefetchMX(r)
	if n := testing.AllocsPerRun(1, func() { queries[0].Then(a) }) / hosts; n > most {
		t.Errorf("%.0f allocations per host, want %d at most", n, most)
	}
}

// TestSilentNameServers tests that the name servers of mail hosts leave time for other questions.
func TestSilentNameServers(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, "example.net. MX 10 a.example.net.")
	env.DNS = checktest.Silent{Resolver: env.DNS, About: func(q checks.Question) bool { return q.Type != dns.TypeMX }, GivesUp: true}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		r := checktest.Session{Client: "192.0.2.9", MailFrom: "user@example.net"}.Request(t)
		if got := showMX(facts.SenderMX(ctx, env, r)); got != "a.example.net !" {
			t.Errorf("got %s", got)
		}
		if ctx.Err() != nil {
			t.Error("no time is left")
		}
	})
}
