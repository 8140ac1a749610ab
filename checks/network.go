package checks

import (
	"fmt"
	"net/netip"
	"strings"
)

// ParseNetwork parses a network in CIDR notation. An address is the network of that address alone. An IPv4-mapped network
// becomes an IPv4 network, as Session.Client is never IPv4-mapped.
func ParseNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a network such as 192.0.2.0/24", text)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits set after the network part; did you mean %q?", text, p.Masked())
	}
	const mapped = 96 // bits of ::ffff:0:0, RFC 4291 section 2.5.5.2
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p, nil
}

// FormatNetwork returns a network as ParseNetwork parses it. A network of one address is that address.
func FormatNetwork(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// sharedSpace is the address space that carriers share among customers, RFC 6598.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// IsPrivate reports whether an address is for private use (RFC 1918, RFC 4193), link-local, or shared by the customers of a
// carrier. A client with such an address sits behind a proxy or NAT, or in the site's own network: neither the DNS nor earlier
// mail says anything about the sender. Loopback and documentation addresses are not private.
func IsPrivate(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLinkLocalUnicast() || sharedSpace.Contains(a)
}

// Network returns the /24 of an IPv4 address or the /64 of an IPv6 address, which usually belongs to one customer or one
// mail site. It is invalid for an invalid address.
func Network(a netip.Addr) netip.Prefix { return networkOf(a, 24) }

// ClientOf returns what counts as one client: an IPv4 address or an IPv6 /64. It is invalid for an invalid address.
func ClientOf(a netip.Addr) netip.Prefix { return networkOf(a, 32) }

// networkOf returns the network of an address, with bits4 bits for IPv4 and 64 for IPv6.
func networkOf(a netip.Addr, bits4 int) netip.Prefix {
	a = a.Unmap()
	bits := 64
	if a.Is4() {
		bits = bits4
	}
	p, _ := a.Prefix(bits) // fails for an invalid address only
	return p
}

// LooksLikeNetwork reports whether a text is an address or a network, or an attempt at one: no host name has a colon or a
// slash.
func LooksLikeNetwork(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil || strings.ContainsAny(text, ":/")
}
