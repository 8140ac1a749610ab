package checks

import (
	"fmt"
	"net/netip"
	"strings"
)

// ParseNetwork reads a network in CIDR form as operators write it; a bare address is the network of that address alone. IPv4
// networks in the IPv6 form become IPv4 ones, as Session.Client is never in that form.
func ParseNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no address and no network such as 192.0.2.0/24", text)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits set behind the network part; did you mean %q?", text, p.Masked())
	}
	const mapped = 96 // bits of ::ffff:0:0, RFC 4291 section 2.5.5.2
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p, nil
}

// LooksLikeNetwork tells whether a text can only be meant for an address or a network, be it one or not: no name of a host has
// a colon or a slash.
func LooksLikeNetwork(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil || strings.ContainsAny(text, ":/")
}
