package helo

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

// host is a HELO name in the DNS.
type host struct {
	name      string
	alias     string // target of the name's CNAME record; empty if it has none
	addrs     []netip.Addr
	errFamily error // why an address of the client's family may be missing
	errOther  error // why an address of the other family may be missing
}

// lookupHost looks up the addresses of the client's family, and those of the other family only if there are none.
func lookupHost(ctx context.Context, resolver checks.Resolver, name string, client netip.Addr) host {
	h := host{name: name}
	types := checks.AddressTypes(client)
	if h.errFamily = h.lookup(ctx, resolver, types[0]); len(h.addrs) == 0 {
		ctx, cancel := checks.WithShare(ctx, 0.5) // slow name servers leave time for the checks that follow
		defer cancel()
		h.errOther = h.lookup(ctx, resolver, types[1])
	}
	return h
}

// lookup adds the addresses in the answer to one question, and the alias.
func (h *host) lookup(ctx context.Context, resolver checks.Resolver, t uint16) error {
	a, err := resolver.Lookup(ctx, checks.Ask(h.name, t))
	h.addrs = append(h.addrs, checks.Addresses(a)...)
	for _, rr := range checks.RecordsOf[*dns.CNAME](a) {
		if h.alias == "" && checks.SameName(rr.Hdr.Name, h.name) {
			h.alias = strings.TrimSuffix(rr.Target, ".")
		}
	}
	if err != nil {
		return fmt.Errorf("address of HELO name %s: %w", h.name, err)
	}
	return nil
}

// prefetchHost returns the questions for both families: one after the other would take a round trip more.
func prefetchHost(name string) []checks.Query {
	return checks.Queries(checks.Ask(name, dns.TypeA), checks.Ask(name, dns.TypeAAAA))
}

// exists reports whether the name has an address. With an error it returns false, although there may be one.
func (h host) exists() (bool, error) {
	if len(h.addrs) > 0 {
		return true, nil
	}
	return false, cmp.Or(h.errFamily, h.errOther)
}

// resolvesTo reports whether the name has the client's address. With an error it returns false, although it may have it.
func (h host) resolvesTo(client netip.Addr) (bool, error) {
	if slices.Contains(h.addrs, client) {
		return true, nil
	}
	return false, h.errFamily
}
