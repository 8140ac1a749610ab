package facts

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

// MX are the mail hosts of the sender's domain, RFC 5321 section 5.1. The zero value means that there is no domain, or that
// it has neither MX nor address records.
type MX struct {
	Null  bool     // the domain accepts no mail, RFC 7505
	Hosts []MXHost // by preference, then by name; at most ten; the domain itself if it has no MX record
	More  bool     // the domain has more hosts
}

// MXHost is one mail host.
type MXHost struct {
	Name  string       // lower case, without the dot at the end
	Addrs []netip.Addr // empty if the name does not resolve; see keepAddrs
	Err   error        // why an address may be missing
}

// Reachable reports whether the host has an address that is globally reachable.
func (h MXHost) Reachable() bool { return slices.ContainsFunc(h.Addrs, checks.GloballyReachable) }

// List returns the first hosts as text, each as show returns it.
func (m MX) List(show func(MXHost) string) string {
	const shown = 3
	var parts []string
	for _, h := range m.Hosts[:min(shown, len(m.Hosts))] {
		parts = append(parts, show(h))
	}
	if more := len(m.Hosts) - shown; more > 0 {
		parts = append(parts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(parts, ", ")
}

type mxKey struct{}

// SenderMX looks up the mail hosts of the domain of MAIL FROM and remembers them for the transaction. The error means that
// the hosts are not known. A host whose addresses are not known has an error of its own.
func SenderMX(ctx context.Context, env checks.Env, r *checks.Request) (MX, error) {
	domain := r.Envelope.MailFrom.Domain
	if domain == "" {
		return MX{}, nil
	}
	return checks.Remember(r, checks.MailFrom, mxKey{}, func() (MX, error) { return lookupMX(ctx, env.DNS, domain, r.Session.Client) })
}

// PrefetchMX returns the questions of SenderMX, and those for both families: one after the other would take a round trip more.
func PrefetchMX(r *checks.Request) []checks.Query {
	domain := r.Envelope.MailFrom.Domain
	if domain == "" {
		return nil
	}
	hosts := func(a checks.Answer) (list []checks.Query) {
		for _, h := range mxOf(a, domain).Hosts {
			list = append(list, checks.Queries(addressQuestions(h.Name)...)...)
		}
		return list
	}
	return []checks.Query{{Question: checks.Ask(domain, dns.TypeMX), Then: hosts, Key: mxKey{}}}
}

// ReceivesMail reports whether a domain has MX or address records. A null MX counts as none, RFC 7505.
func ReceivesMail(ctx context.Context, env checks.Env, domain string) (bool, error) {
	a, err := env.DNS.Lookup(ctx, checks.Ask(domain, dns.TypeMX))
	if err != nil {
		return false, fmt.Errorf("mail hosts of %s: %w", domain, err)
	}
	if len(checks.RecordsOf[*dns.MX](a)) > 0 {
		return !mxOf(a, domain).Null, nil
	}
	var failed error
	for _, res := range checks.LookupAll(ctx, env.DNS, addressQuestions(domain)...) {
		if len(checks.Addresses(res.Answer)) > 0 {
			return true, nil
		}
		if res.Err != nil {
			failed = fmt.Errorf("addresses of %s: %w", domain, res.Err)
		}
	}
	return false, failed
}

type receivesMailKey struct{}

// PrefetchReceivesMail returns the questions of ReceivesMail.
func PrefetchReceivesMail(domain string) []checks.Query {
	addresses := func(a checks.Answer) []checks.Query {
		if len(checks.RecordsOf[*dns.MX](a)) > 0 {
			return nil
		}
		return checks.Queries(addressQuestions(domain)...)
	}
	return []checks.Query{{Question: checks.Ask(domain, dns.TypeMX), Then: addresses, Key: receivesMailKey{}}}
}

func lookupMX(ctx context.Context, resolver checks.Resolver, domain string, client netip.Addr) (MX, error) {
	a, err := resolver.Lookup(ctx, checks.Ask(domain, dns.TypeMX))
	if err != nil {
		return MX{}, fmt.Errorf("mail hosts of %s: %w", domain, err)
	}
	m := mxOf(a, domain)
	lookupAddrs(ctx, resolver, m.Hosts, client)
	for i := range m.Hosts {
		h := &m.Hosts[i]
		h.Addrs = keepAddrs(h.Addrs, client)
		if h.Err != nil {
			h.Err = fmt.Errorf("addresses of %s, mail host of %s: %w", h.Name, domain, h.Err)
		}
	}
	if hasNoMX := len(checks.RecordsOf[*dns.MX](a)) == 0; hasNoMX && len(m.Hosts[0].Addrs) == 0 {
		return MX{}, m.Hosts[0].Err
	}
	return m, nil
}

// lookupAddrs looks up whether the client is one of the hosts, and whether each is reachable: their addresses in the client's family, and
// in the other one those of hosts that are not reachable by the first. Without a client it looks up all.
func lookupAddrs(ctx context.Context, resolver checks.Resolver, hosts []MXHost, client netip.Addr) {
	all := make([]*MXHost, len(hosts))
	for i := range hosts {
		all[i] = &hosts[i]
	}
	types := checks.AddressTypes(client)
	if !client.IsValid() {
		addAddrs(ctx, resolver, all, types[:]...)
		return
	}
	addAddrs(ctx, resolver, all, types[0])
	ctx, cancel := checks.WithShare(ctx, 0.5) // slow name servers leave time for the checks that follow
	defer cancel()
	addAddrs(ctx, resolver, slices.DeleteFunc(all, func(h *MXHost) bool { return h.Reachable() }), types[1])
}

func addAddrs(ctx context.Context, resolver checks.Resolver, hosts []*MXHost, types ...uint16) {
	var questions []checks.Question
	for _, h := range hosts {
		for _, t := range types {
			questions = append(questions, checks.Ask(h.Name, t))
		}
	}
	for i, res := range checks.LookupAll(ctx, resolver, questions...) {
		h := hosts[i/len(types)]
		h.Addrs = append(h.Addrs, checks.Addresses(res.Answer)...)
		h.Err = cmp.Or(h.Err, res.Err)
	}
}

// maxAddrs is the number of addresses of a mail host that are kept. Half of it is more than an honest host has; an answer may have
// thousands, which each open session would hold.
const maxAddrs = 32

// keepAddrs returns the addresses of a host that are kept. Of too many, the client's own comes first, and then those that are globally
// reachable: these decide what the checks find.
func keepAddrs(addrs []netip.Addr, client netip.Addr) []netip.Addr {
	if len(addrs) <= maxAddrs {
		return addrs
	}
	client = client.Unmap().WithZone("")
	var own, reachable, others []netip.Addr
	for _, a := range addrs {
		switch {
		case a == client:
			own = append(own, a)
		case checks.GloballyReachable(a):
			reachable = append(reachable, a)
		default:
			others = append(others, a)
		}
	}
	return slices.Clone(slices.Concat(own, reachable, others)[:maxAddrs])
}

// mxOf returns the hosts in the answer to the question for MX records, without their addresses. Without records the domain
// is the host, even if the answer is NXDOMAIN: some load balancers give it for all types but A.
func mxOf(a checks.Answer, domain string) MX {
	records := checks.RecordsOf[*dns.MX](a)
	if len(records) == 0 {
		return MX{Hosts: []MXHost{{Name: domain}}}
	}
	preferences := map[string]uint16{} // the lowest of each host
	for _, rr := range records {
		name := strings.TrimSuffix(dns.CanonicalName(rr.Mx), ".")
		if p, ok := preferences[name]; name != "" && (!ok || rr.Preference < p) {
			preferences[name] = rr.Preference
		}
	}
	names := slices.SortedFunc(maps.Keys(preferences), func(a, b string) int {
		return cmp.Or(cmp.Compare(preferences[a], preferences[b]), strings.Compare(a, b))
	})
	var m MX
	for _, name := range names[:min(len(names), maxHosts)] {
		m.Hosts = append(m.Hosts, MXHost{Name: name})
	}
	m.Null = len(names) == 0 // RFC 7505 section 3: a null MX beside a host is an error, and ignored here
	m.More = len(names) > maxHosts
	return m
}

func addressQuestions(name string) []checks.Question {
	return []checks.Question{checks.Ask(name, dns.TypeA), checks.Ask(name, dns.TypeAAAA)}
}
