package resolver

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter/resolver/dnstest"
)

// dnsText is the zone of the conformance tests. The chain from c1 has eight CNAME records, the chain from c0 nine.
const dnsText = `
com.                 300 SOA a.gtld-servers.net. nstld.verisign-grs.com. 1 1800 900 604800 900
example.org.         300 SOA ns.example.org. root.example.org. 1 3600 600 86400 60
example.org.         300 MX  10 mx1.example.org.
example.org.         300 MX  20 mx2.example.org.
mx1.example.org.     300 A   192.0.2.1
mx1.example.org.     300 AAAA 2001:db8::1
deep.below.example.org. 300 A 192.0.2.2
Case.Example.ORG.    300 A   192.0.2.3
txt.example.org.     300 TXT "one" "two" "v=\"quoted\""
alias.example.org.   300 CNAME second.example.net.
second.example.net.  300 CNAME mx1.example.org.
alias-none.example.org. 300 CNAME mx2.example.net.
mx2.example.net.     300 MX 10 mx1.example.org.
alias-gone.example.org. 300 CNAME gone.example.org.
loop.example.org.    300 CNAME pool.example.org.
pool.example.org.    300 CNAME loop.example.org.
self.example.org.    300 CNAME self.example.org.
into-loop.example.org. 300 CNAME loop.example.org.
c0.example.org. 300 CNAME c1.example.org.
c1.example.org. 300 CNAME c2.example.org.
c2.example.org. 300 CNAME c3.example.org.
c3.example.org. 300 CNAME c4.example.org.
c4.example.org. 300 CNAME c5.example.org.
c5.example.org. 300 CNAME c6.example.org.
c6.example.org. 300 CNAME c7.example.org.
c7.example.org. 300 CNAME c8.example.org.
c8.example.org. 300 CNAME c9.example.org.
c9.example.org. 300 A 192.0.2.9
odd\.dot.example.org. 300 A 192.0.2.4
9.2.0.192.in-addr.arpa. 300 PTR a.example.org.
9.2.0.192.in-addr.arpa. 300 PTR b.example.org.
broken.example.org.  300 A 192.0.2.6
alias-broken.example.org. 300 CNAME broken.example.org.
half.example.org.    300 A 192.0.2.7
!SERVFAIL broken.example.org.
!TIMEOUT slow.example.org.
!SERVFAIL half.example.org. MX
`

const (
	nxdomain = "NXDOMAIN"
	fails    = "error"
)

// cases are questions and their answers in the format of short.
var cases = []struct {
	name, ask string
	t         uint16
	want      string
}{
	{"records", "example.org", dns.TypeMX, "MX 10 mx1.example.org. | MX 20 mx2.example.org."},
	{"one record", "mx1.example.org.", dns.TypeAAAA, "AAAA 2001:db8::1"},
	{"case of the question", "MX1.Example.Org", dns.TypeA, "A 192.0.2.1"},
	{"case of the zone", "case.example.org", dns.TypeA, "A 192.0.2.3"},
	{"strings", "txt.example.org", dns.TypeTXT, `TXT "one" "two" "v=\"quoted\""`},
	{"PTR", "9.2.0.192.in-addr.arpa", dns.TypePTR, "PTR a.example.org. | PTR b.example.org."},
	{"no such name", "gone.example.org", dns.TypeA, nxdomain},
	{"no such domain", "example.com", dns.TypeMX, nxdomain},
	{"no such type", "mx1.example.org", dns.TypeMX, ""},
	{"empty non-terminal", "below.example.org", dns.TypeA, ""},
	{"root", ".", dns.TypeA, ""},
	{"chain", "alias.example.org", dns.TypeA, "CNAME second.example.net. | CNAME mx1.example.org. | A 192.0.2.1"},
	{"the alias itself", "alias.example.org", dns.TypeCNAME, "CNAME second.example.net."},
	{"chain to no such type", "alias-none.example.org", dns.TypeA, "CNAME mx2.example.net."},
	{"chain to no such name", "alias-gone.example.org", dns.TypeA, "CNAME gone.example.org. | NXDOMAIN"},
	{"chain of eight", "c1.example.org", dns.TypeA, "CNAME c2.example.org. | CNAME c3.example.org. | " +
		"CNAME c4.example.org. | CNAME c5.example.org. | CNAME c6.example.org. | CNAME c7.example.org. | " +
		"CNAME c8.example.org. | CNAME c9.example.org. | A 192.0.2.9"},
	{"chain of nine", "c0.example.org", dns.TypeA, fails},
	{"loop", "loop.example.org", dns.TypeA, fails},
	{"loop of one", "self.example.org", dns.TypeA, fails},
	{"chain into a loop", "into-loop.example.org", dns.TypeA, fails},
	{"escaped dot", `odd\.dot.example.org`, dns.TypeA, "A 192.0.2.4"},
	{"SERVFAIL", "broken.example.org", dns.TypeA, fails},
	{"chain to SERVFAIL", "alias-broken.example.org", dns.TypeA, fails},
	{"SERVFAIL of a type", "half.example.org", dns.TypeMX, fails},
	{"no SERVFAIL of another type", "half.example.org", dns.TypeA, "A 192.0.2.7"},
	{"time-out", "slow.example.org", dns.TypeA, fails},
	{"label over 63 bytes", strings.Repeat("a", 64) + ".example.org", dns.TypeA, nxdomain},
	{"label of 63 bytes", strings.Repeat("a", 63) + ".example.org", dns.TypeA, nxdomain},
	{"name over 255 bytes", strings.Repeat("a.", 127) + "a", dns.TypeA, nxdomain},
	{"empty label", "a..example.org", dns.TypeA, nxdomain},
	{"leading dot", ".example.org", dns.TypeA, nxdomain},
}

// TestConformance tests that each checks.Resolver does what the documentation of the interface says.
func TestConformance(t *testing.T) {
	t.Parallel()
	z, err := checktest.ParseZone(dnsText)
	if err != nil {
		t.Fatal(err)
	}
	resolvers := map[string]checks.Resolver{
		"zone":                       z,
		"resolver":                   serve(t),
		"truncated over UDP":         serve(t, dnstest.TruncateUDP),
		"forged answers":             serve(t, dnstest.Forged),
		"one CNAME record at a time": serve(t, oneLink),
		"no EDNS":                    serve(t, dnstest.NoEDNS),
		"an old version of EDNS":     serve(t, badVersion),
	}
	// All wait for the time-out at the same time: few subtests run at a time.
	for _, r := range resolvers {
		go r.Lookup(context.Background(), checks.Ask("slow.example.org", dns.TypeA))
	}
	for name, r := range resolvers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conform(t, r)
		})
	}
}

func conform(t *testing.T, r checks.Resolver) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, again := range []string{"", ", again"} {
				a, err := r.Lookup(context.Background(), checks.Ask(c.ask, c.t))
				if got := short(a, err); got != c.want {
					t.Errorf("got %q (%v)%s, want %q", got, err, again, c.want)
				}
			}
		})
	}
	t.Run("done context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := r.Lookup(ctx, checks.Ask("new.example.org", dns.TypeA)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// serve returns a resolver that asks a server with dnsText and the behaviours.
func serve(t *testing.T, b ...dnstest.Behaviour) *Resolver {
	t.Helper()
	s := dnstest.Start(t, dnsText)
	s.Behave(b...)
	return start(t, Config{Servers: []string{s.Addr}, Timeout: 2 * time.Second, attempts: 1})
}

// start returns a resolver that is closed at the end of the test.
func start(t testing.TB, cfg Config) *Resolver {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// short returns the records of an answer as in cases, separated by " | ", then NXDOMAIN if it is set.
func short(a checks.Answer, err error) string {
	if err != nil {
		return fails
	}
	var words []string
	for _, rr := range a.Records {
		words = append(words, strings.Join(strings.Split(rr.String(), "\t")[3:], " "))
	}
	if a.NXDomain {
		words = append(words, nxdomain)
	}
	return strings.Join(words, " | ")
}

// dropEDNS answers no query with EDNS, as some firewalls do.
func dropEDNS(_ dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
	if req.IsEdns0() != nil {
		return nil
	}
	return resp
}

// badVersion answers queries with EDNS that it does not know the version of EDNS.
func badVersion(_ dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
	if req.IsEdns0() == nil {
		return resp
	}
	return new(dns.Msg).SetRcode(req, dns.RcodeBadVers).SetEdns0(dns.MinMsgSize, false)
}

// oneLink follows no CNAME record: it answers with the first record of a chain only, without an authority section.
func oneLink(_ dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
	if len(resp.Answer) > 0 {
		if _, ok := resp.Answer[0].(*dns.CNAME); ok {
			resp.Rcode, resp.Answer, resp.Ns = dns.RcodeSuccess, resp.Answer[:1], nil
		}
	}
	return resp
}
