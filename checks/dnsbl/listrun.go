package dnsbl

import (
	"fmt"
	"maps"
	"net/netip"
)

// listRun finds a zone that lists the world although its test points are right. A zone is taken to list the world when its last
// answers about worldNetworks different client networks were all listings, until it does not list one network. Only the
// network of the client counts, whatever the zone is asked about: nothing that one client can vary affects the run.
//
// The zero value is an empty run.
type listRun struct {
	networks map[netip.Prefix]bool // listed since the last answer that was no listing; at most worldNetworks
}

// worldNetworks is the length of the run that shows that a zone lists the world. Before that is noticed, such a zone refuses the mail
// of one network less. Double would refuse twice the mail. With a zone that rightly lists every second client, half would be reached
// by chance about every 130 networks instead of every 8,000.
const worldNetworks = 12

// listsTheWorld is the reason for the state suspended.
var listsTheWorld = fmt.Sprintf("it lists the world: it listed the last %d client networks, one after the other. "+
	"It is still asked, but its listings do not count until there is a network that it does not list", worldNetworks)

// add adds the answer about a client. A session without a client address is ignored.
func (r *listRun) add(client netip.Addr, listed bool) {
	network, ok := networkOf(client)
	switch {
	case !ok:
	case !listed:
		clear(r.networks)
	case len(r.networks) < worldNetworks:
		if r.networks == nil {
			r.networks = make(map[netip.Prefix]bool, worldNetworks)
		}
		r.networks[network] = true
	}
}

// listsWorld reports whether the zone is taken to list the world.
func (r *listRun) listsWorld() bool { return len(r.networks) >= worldNetworks }

// clone returns a copy that shares nothing with the original.
func (r *listRun) clone() listRun { return listRun{networks: maps.Clone(r.networks)} }

// networkOf returns the /24 of an IPv4 address or the /48 of an IPv6 address, which is what one site gets.
func networkOf(client netip.Addr) (network netip.Prefix, ok bool) {
	bits := 48
	if client.Is4() {
		bits = 24
	}
	network, err := client.Prefix(bits)
	return network, err == nil && client.IsValid()
}
