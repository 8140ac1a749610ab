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

// host is what the DNS knows of a HELO name. Each family may have failed by itself.
type host struct {
	name       string
	alias      string // what the name is a CNAME for; empty if it is none
	addrs      []netip.Addr
	err4, err6 error
}

// hostKey is the key of a host that is remembered.
type hostKey struct{}

func lookup(ctx context.Context, r checks.Resolver, name string) host {
	found := checks.LookupAll(ctx, r, checks.Ask(name, dns.TypeA), checks.Ask(name, dns.TypeAAAA))
	h := host{name: name, err4: found[0].Err, err6: found[1].Err}
	for _, f := range found {
		h.addrs = append(h.addrs, checks.Addresses(f.Answer)...)
		// A CNAME is in the answer to either question: RFC 1034 section 3.6.2.
		for _, rr := range checks.RecordsOf[*dns.CNAME](f.Answer) {
			if h.alias == "" && checks.SameName(rr.Hdr.Name, name) {
				h.alias = strings.TrimSuffix(rr.Target, ".")
			}
		}
	}
	return h
}

// exists tells whether the name has an address. Without one, the error tells that this may not be the last word.
func (h host) exists() (bool, error) {
	if len(h.addrs) > 0 {
		return true, nil
	}
	for _, err := range []error{h.err4, h.err6} {
		if err != nil {
			return false, h.explain(err)
		}
	}
	return false, nil
}

// leadsTo tells whether the name has the client's address. The error counts only if it has not.
func (h host) leadsTo(client netip.Addr) (bool, error) {
	if slices.Contains(h.addrs, client.WithZone("")) {
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
