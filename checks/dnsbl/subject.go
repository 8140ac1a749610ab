package dnsbl

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
)

// subject is what is looked up. The zero value is a client, or a name, that no list is asked about.
type subject struct {
	query  Query
	what   string // "client name"
	shown  string // "192.0.2.9", "spam.example"
	labels string // part of the question before the zone: "9.2.0.192", "spam.example"
	pool   bool   // a name that networks give to all addresses of a pool, which never vouches
}

// clientSubject returns the subject of an address, RFC 5782 sections 2.1 and 2.4.
func clientSubject(client netip.Addr) subject {
	if !client.IsValid() {
		return subject{}
	}
	return subject{query: Client, what: "client", shown: client.String(), labels: reversed(client)}
}

// reversed returns an address as labels: its bytes or nibbles in reverse order. Package dns would take an IPv4-mapped address, which is a
// test point, for an IPv4 address.
func reversed(a netip.Addr) string {
	var labels []string
	for _, b := range slices.Backward(a.AsSlice()) {
		if a.Is4() {
			labels = append(labels, strconv.Itoa(int(b)))
		} else {
			labels = append(labels, fmt.Sprintf("%x.%x", b&0xf, b>>4))
		}
	}
	return strings.Join(labels, ".")
}

func clientNameSubject(client netip.Addr, name string) subject {
	s := nameSubject(ClientName, "client name", name)
	s.pool = facts.IsPoolName(client, name)
	return s
}

// nameSubject returns the subject of a name. A client can send anything as a name; only names of public hosts and domains are
// looked up.
func nameSubject(query Query, what, name string) subject {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !isPublic(name) {
		return subject{}
	}
	return subject{query: query, what: what, shown: name, labels: name}
}

// privateDomains are top-level domains without public names: RFC 6761, 6762, 7686 and 9476, those that ICANN reserves for
// private use or home networks use without permission, and arpa. test is not among them, for tests of milterd.
var privateDomains = []string{
	"alt", "arpa", "corp", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost", "onion", "private",
}

// isPublic reports whether a name, in lower case, may be public: it has several labels and is no address. RFC 3696 section 2: no
// top-level domain is all-numeric.
func isPublic(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 || !checks.IsHostName(name) {
		return false
	}
	top := name[dot+1:]
	return strings.Trim(top, "0123456789") != "" && !slices.Contains(privateDomains, top)
}
