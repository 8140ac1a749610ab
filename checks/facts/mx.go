package facts

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

// MX is where the sender's domain takes its mail, RFC 5321 section 5.1. The zero value: there is no domain to ask about, or
// it takes none, having neither MX nor address records.
type MX struct {
	Null     bool     // the domain says that it takes no mail, RFC 7505
	Implicit bool     // there is no MX record: the domain itself is the host
	Hosts    []MXHost // in the order in which a sender tries them, equal ones by name; at most ten
	More     bool     // there are more hosts than that
}

// MXHost is one host that takes mail.
type MXHost struct {
	Name       string // lower case, without the dot at its end
	Preference uint16
	Addrs      []netip.Addr // none if it does not resolve
	Err        error        // not all addresses could be found out
}

// Reachable tells whether the host has an address to which mail can be sent over the Internet.
func (h MXHost) Reachable() bool { return slices.ContainsFunc(h.Addrs, GloballyReachable) }

type mxKey struct{}

// SenderMX finds out where the domain of MAIL FROM takes its mail, and remembers it for the transaction. The error means
// that the hosts are not known; a host whose addresses are not known has an error of its own.
func SenderMX(ctx context.Context, env checks.Env, s *checks.Request) (MX, error) {
	domain := s.Envelope.MailFrom.Domain
	if domain == "" {
		return MX{}, nil
	}
	return checks.Remember(s, checks.MailFrom, mxKey{}, func() (MX, error) { return lookupMX(ctx, env.DNS, domain) })
}

func lookupMX(ctx context.Context, r checks.Resolver, domain string) (MX, error) {
	a, err := r.Lookup(ctx, checks.Ask(domain, dns.TypeMX))
	if err != nil {
		return MX{}, fmt.Errorf("mail hosts of %s: %w", domain, err)
	}
	m, ok := mxHosts(a)
	if !ok {
		m = MX{Implicit: true, Hosts: []MXHost{{Name: domain}}}
	}
	names := make([]string, len(m.Hosts))
	for i, h := range m.Hosts {
		names[i] = h.Name
	}
	for i, f := range checks.LookupAll(ctx, r, addrQuestions(names...)...) {
		h := &m.Hosts[i/2] // A and AAAA of each
		h.Addrs = append(h.Addrs, checks.Addresses(f.Answer)...)
		if f.Err != nil && h.Err == nil {
			h.Err = fmt.Errorf("addresses of %s, mail host of %s: %w", h.Name, domain, f.Err)
		}
	}
	if m.Implicit && len(m.Hosts[0].Addrs) == 0 {
		return MX{}, m.Hosts[0].Err
	}
	return m, nil
}

// mxHosts reads the answer to the question for MX records; ok is false if there are none, even if the name does not exist:
// some load balancers answer NXDOMAIN to every type but A.
func mxHosts(a checks.Answer) (m MX, ok bool) {
	records := checks.RecordsOf[*dns.MX](a)
	seen := map[string]bool{}
	slices.SortStableFunc(records, func(a, b *dns.MX) int {
		return cmp.Or(cmp.Compare(a.Preference, b.Preference), strings.Compare(trimName(a.Mx), trimName(b.Mx)))
	})
	for _, rr := range records {
		if n := trimName(rr.Mx); n != "" && !seen[n] {
			seen[n] = true
			m.Hosts = append(m.Hosts, MXHost{Name: n, Preference: rr.Preference})
		}
	}
	// RFC 7505 section 3: a null MX stands alone. Beside a real host it is a blunder and means nothing.
	m.Null = len(records) > 0 && len(m.Hosts) == 0
	m.More = len(m.Hosts) > maxHosts
	m.Hosts = firstN(m.Hosts, maxHosts)
	return m, len(records) > 0
}

// MXAhead announces what SenderMX asks.
func MXAhead(s *checks.Request) []checks.Query {
	domain := s.Envelope.MailFrom.Domain
	if domain == "" {
		return nil
	}
	return []checks.Query{{
		Question: checks.Ask(domain, dns.TypeMX),
		Then: func(a checks.Answer) []checks.Query {
			m, ok := mxHosts(a)
			if !ok {
				return ahead(addrQuestions(domain))
			}
			var out []checks.Query
			for _, h := range m.Hosts {
				out = append(out, ahead(addrQuestions(h.Name))...)
			}
			return out
		},
		Key: mxKey{},
	}}
}
