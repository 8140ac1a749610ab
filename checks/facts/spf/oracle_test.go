package spf_test

import (
	"context"
	"net"
	"strings"
	"testing"

	oracle "blitiri.com.ar/go/spf"
	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts/spf"
)

// oracleZone has the names that records of FuzzOracle may use.
const oracleZone = `example.net A 192.0.2.9
example.net MX 0 b.example.net
a.example.net TXT "v=spf1 ip4:192.0.2.0/28 ~all"
a.example.net A 198.51.100.7
b.example.net TXT "v=spf1 a mx:example.net -all"
b.example.net A 192.0.2.77
c.example.net TXT "v=spf1 include:a.example.net ?include:b.example.net redirect=d.example.net"
d.example.net TXT "v=spf1 ip4:198.51.100.0/24 -all"
e.example.net TXT "v=spf1 moo"
`

// FuzzOracle compares results with blitiri.com.ar/go/spf, for records that both find well formed, without macros and ptr, and
// for IPv4 clients.
func FuzzOracle(f *testing.F) {
	for _, s := range []string{
		"-all", "mx ~all", "a:a.example.net/24 -all", "include:c.example.net", "redirect=c.example.net", "?include:b.example.net -ip4:192.0.2.9",
		"a:x.example.net a:y.example.net mx:z.example.net +all", "exists:example.net", "-exists:nothing.example.net ip4:192.0.2.8/31",
		"include:e.example.net", "a:timeout.example.net -all", "include:c.example.net include:c.example.net include:c.example.net",
		"ip6:2001:db8::/32 mx:b.example.net/0", "a//64 -all", "+A:B.EXAMPLE.NET/0", "redirect=nowhere.example.net",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, terms string) {
		low := strings.ToLower(terms)
		if len(terms) > 200 || strings.ContainsAny(terms, "%\"\\;()\n\r\x00") || strings.Contains(low, "ptr") || !ascii(terms) {
			t.Skip()
		}
		zone := checktest.NewZone(t, "!TIMEOUT timeout.example.net\n"+oracleZone+`example.net TXT "v=spf1 `+terms+`"`)
		got, err := spf.CheckHost(t.Context(), zone, mail)
		if strings.HasPrefix(got.Problem, "in the record of") {
			t.Skip() // the oracle does not find errors after the matching directive
		}
		want, why := oracle.CheckHostWithSender(net.IPv4(192, 0, 2, 9), "mail.example.com", "user@example.net",
			oracle.WithResolver(netResolver{zone}), oracle.WithContext(t.Context()))
		switch why {
		case oracle.ErrVoidLookupLimitReached: // the oracle counts names that do not fit in a question
			t.Skip()
		case oracle.ErrInvalidMask, oracle.ErrInvalidDomain, oracle.ErrInvalidMacro: // the oracle accepts no slash in a name
			t.Skip()
		}
		if string(got.Result) != string(want) {
			t.Errorf("%q: %+v (%v), the oracle says %s (%v)", terms, got, err, want, why)
		}
	})
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// netResolver adapts a Resolver to the interface of the oracle, for IPv4.
type netResolver struct{ checks.Resolver }

func (r netResolver) ask(ctx context.Context, name string, t uint16) (checks.Answer, error) {
	a, err := r.Lookup(ctx, checks.Ask(name, t))
	if err != nil {
		return a, &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true}
	}
	if len(a.Records) == 0 {
		return a, &net.DNSError{Err: "nothing", Name: name, IsNotFound: true}
	}
	return a, nil
}

func (r netResolver) LookupTXT(ctx context.Context, name string) (out []string, err error) {
	a, err := r.ask(ctx, name, dns.TypeTXT)
	for _, t := range checks.RecordsOf[*dns.TXT](a) {
		out = append(out, strings.Join(t.Txt, ""))
	}
	return out, err
}

func (r netResolver) LookupMX(ctx context.Context, name string) (out []*net.MX, err error) {
	a, err := r.ask(ctx, name, dns.TypeMX)
	for _, m := range checks.RecordsOf[*dns.MX](a) {
		out = append(out, &net.MX{Host: m.Mx, Pref: m.Preference})
	}
	return out, err
}

func (r netResolver) LookupIPAddr(ctx context.Context, name string) (out []net.IPAddr, err error) {
	a, err := r.ask(ctx, name, dns.TypeA)
	for _, rr := range checks.RecordsOf[*dns.A](a) {
		out = append(out, net.IPAddr{IP: rr.A})
	}
	return out, err
}

func (r netResolver) LookupAddr(context.Context, string) ([]string, error) { return nil, nil }
