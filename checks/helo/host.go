package helo

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

// host is a HELO name in the DNS. The lookup of each address family may fail separately.
type host struct {
	name  string
	alias string // target of the name's CNAME record; empty if it has none
	addrs []netip.Addr
	err4  error
	err6  error
}

func lookupHost(ctx context.Context, resolver checks.Resolver, name string) host {
	results := checks.LookupAll(ctx, resolver, checks.Ask(name, dns.TypeA), checks.Ask(name, dns.TypeAAAA))
	h := host{name: name, err4: results[0].Err, err6: results[1].Err}
	for _, res := range results {
		h.addrs = append(h.addrs, checks.Addresses(res.Answer)...)
		for _, rr := range checks.RecordsOf[*dns.CNAME](res.Answer) {
			if h.alias == "" && checks.SameName(rr.Hdr.Name, name) {
				h.alias = strings.TrimSuffix(rr.Target, ".")
			}
		}
	}
	return h
}

// exists reports whether the name has an address. With an error it is false and might be true.
func (h host) exists() (bool, error) {
	switch {
	case len(h.addrs) > 0:
		return true, nil
	case h.err4 != nil:
		return false, h.explain(h.err4)
	case h.err6 != nil:
		return false, h.explain(h.err6)
	}
	return false, nil
}

// resolvesTo reports whether the name has the client's address. With an error it is false and might be true.
func (h host) resolvesTo(client netip.Addr) (bool, error) {
	if slices.Contains(h.addrs, client) {
		return true, nil
	}
	err := h.err6
	if client.Is4() {
		err = h.err4
	}
	if err != nil {
		return false, h.explain(err)
	}
	return false, nil
}

func (h host) explain(err error) error { return fmt.Errorf("address of HELO name %s: %w", h.name, err) }
