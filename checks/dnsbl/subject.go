package dnsbl

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/headers"
)

// subject is what is looked up.
type subject struct {
	query  Query
	what   string // in words
	shown  string // "192.0.2.9", "spam.example"
	labels string // what stands before the zone: "9.2.0.192", "spam.example"
	pool   bool   // a name as networks give to whole pools: it never vouches
}

// clientSubject makes an address into the labels of RFC 5782 sections 2.1 and 2.4: octets or nibbles, reversed. Private addresses
// are asked for too: a site may have a list of its own, and public ones have only their test points there.
func clientSubject(client netip.Addr) (sub subject, ok bool) {
	client = client.WithZone("")
	if !client.IsValid() {
		return subject{}, false
	}
	return subject{
		query: Client, what: "client", shown: client.String(), labels: reversed(client),
	}, true
}

// reversed is an address in the labels of a list.
func reversed(a netip.Addr) string {
	name, err := dns.ReverseAddr(a.String())
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.TrimSuffix(name, ".in-addr.arpa."), ".ip6.arpa.")
}

func clientNameSubject(client netip.Addr, name string) (subject, bool) {
	sub, ok := nameSubject(ClientName, "client name", name)
	sub.pool = facts.PoolName(client, name)
	return sub, ok
}

// nameSubject takes a name that can be that of a public host or domain. Whatever else a client says about itself is looked at by
// other checks, and must not lead to questions about it.
func nameSubject(query Query, what, name string) (sub subject, ok bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !isPublic(name) {
		return subject{}, false
	}
	return subject{query: query, what: what, shown: name, labels: name}, true
}

// private are top-level domains that are not those of public names: RFC 6761, 6762, 7686, 9476, what ICANN reserves for private
// use, what home networks use without asking, and the DNS's own. test is not among them: whoever tries a list uses it.
var private = []string{
	"alt", "arpa", "corp", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost", "onion", "private",
}

// isPublic tells whether a name, in lower case, can be a public one: several labels, and no address.
func isPublic(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 || hard(headers.CheckDomain(name)) {
		return false
	}
	top := name[dot+1:]
	// RFC 3696 section 2: no top-level domain is all numeric.
	return strings.Trim(top, "0123456789") != "" && !slices.Contains(private, top)
}

// leadsTo tells whether an answer has the client's address.
func leadsTo(a checks.Answer, client netip.Addr) bool {
	return slices.Contains(checks.Addresses(a), client.WithZone(""))
}
