package checks

import (
	"net/netip"
	"slices"
)

// addressBlock is an entry of IANA's special-purpose address registries.
type addressBlock struct {
	netip.Prefix
	reachable bool // column "Globally Reachable"
}

// special are the IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190) as of 2025. Multicast, the former
// site-local addresses and what IANA has not allocated are added, as no mail is sent to them. Blocks whose reachability is "N/A"
// (6to4 and its relays, Teredo) count as reachable, as it depends on the embedded address. The longest prefix that contains an
// address decides.
var special = [...]addressBlock{
	unreachable("0.0.0.0/8"),       // this network, RFC 791
	unreachable("10.0.0.0/8"),      // private use, RFC 1918
	unreachable("100.64.0.0/10"),   // shared address space of carriers, RFC 6598
	unreachable("127.0.0.0/8"),     // loopback, RFC 1122
	unreachable("169.254.0.0/16"),  // link local, RFC 3927
	unreachable("172.16.0.0/12"),   // private use, RFC 1918
	unreachable("192.0.0.0/24"),    // IETF protocol assignments, RFC 6890
	reachable("192.0.0.9/32"),      // Port Control Protocol anycast, RFC 7723
	reachable("192.0.0.10/32"),     // TURN anycast, RFC 8155
	unreachable("192.0.2.0/24"),    // documentation, RFC 5737
	reachable("192.31.196.0/24"),   // AS112, RFC 7535
	reachable("192.52.193.0/24"),   // AMT, RFC 7450
	reachable("192.88.99.0/24"),    // deprecated 6to4 relay anycast, RFC 7526: "N/A"
	unreachable("192.88.99.2/32"),  // 6a44 relay anycast, RFC 6751
	unreachable("192.168.0.0/16"),  // private use, RFC 1918
	reachable("192.175.48.0/24"),   // direct delegation AS112, RFC 7534
	unreachable("198.18.0.0/15"),   // benchmarking, RFC 2544
	unreachable("198.51.100.0/24"), // documentation, RFC 5737
	unreachable("203.0.113.0/24"),  // documentation, RFC 5737
	unreachable("224.0.0.0/4"),     // multicast, RFC 5771
	unreachable("240.0.0.0/4"),     // reserved, RFC 1112, and limited broadcast, RFC 8190
	unreachable("::/0"),            // not allocated, as IANA's registry of the IPv6 address space has it
	reachable("2000::/3"),          // global unicast, RFC 4291
	unreachable("::/128"),          // unspecified, RFC 4291
	unreachable("::1/128"),         // loopback, RFC 4291
	unreachable("::ffff:0:0/96"),   // IPv4-mapped, RFC 4291
	reachable("64:ff9b::/96"),      // IPv4-IPv6 translation, RFC 6052
	unreachable("64:ff9b:1::/48"),  // the same for local use, RFC 8215
	unreachable("100::/64"),        // discard-only, RFC 6666
	unreachable("100:0:0:1::/64"),  // dummy prefix, RFC 9780
	unreachable("2001::/23"),       // IETF protocol assignments, RFC 2928
	reachable("2001::/32"),         // Teredo, RFC 4380: "N/A"
	reachable("2001:1::1/128"),     // Port Control Protocol anycast, RFC 7723
	reachable("2001:1::2/128"),     // TURN anycast, RFC 8155
	reachable("2001:1::3/128"),     // DNS-SD service registration anycast, RFC 9665
	unreachable("2001:2::/48"),     // benchmarking, RFC 5180
	reachable("2001:3::/32"),       // AMT, RFC 7450
	reachable("2001:4:112::/48"),   // AS112, RFC 7535
	reachable("2001:20::/28"),      // ORCHIDv2, RFC 7343
	reachable("2001:30::/28"),      // drone remote identification, RFC 9374
	unreachable("2001:db8::/32"),   // documentation, RFC 3849
	reachable("2002::/16"),         // 6to4, RFC 3056: "N/A"
	reachable("2620:4f:8000::/48"), // direct delegation AS112, RFC 7534
	unreachable("3fff::/20"),       // documentation, RFC 9637
	unreachable("5f00::/16"),       // segment routing identifiers, RFC 9602
	unreachable("fc00::/7"),        // unique local, RFC 4193
	unreachable("fe80::/10"),       // link local, RFC 4291
	unreachable("fec0::/10"),       // site local, deprecated by RFC 3879
	unreachable("ff00::/8"),        // multicast, RFC 4291
}

func unreachable(prefix string) addressBlock {
	return addressBlock{Prefix: netip.MustParsePrefix(prefix)}
}

func reachable(prefix string) addressBlock {
	return addressBlock{Prefix: netip.MustParsePrefix(prefix), reachable: true}
}

// GloballyReachable reports whether packets to an address can cross the Internet, by IANA's registries of special-purpose
// addresses. It is false for an invalid address and for documentation networks.
func GloballyReachable(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	a = a.WithZone("")
	result, bits := true, -1
	for i := range special {
		b := &special[i]
		if b.Bits() > bits && b.Contains(a) {
			result, bits = b.reachable, b.Bits()
		}
	}
	return result
}

var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96") // IPv4 address in the last 4 bytes, RFC 6052 section 2.1
	broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// embedding are the other blocks whose addresses embed an IPv4 address. No host needs to write its address like this.
var embedding = [...]netip.Prefix{
	netip.MustParsePrefix("::/96"),           // IPv4-compatible, RFC 4291 section 2.5.5.1; loopback is in it
	netip.MustParsePrefix("::ffff:0:0/96"),   // IPv4-mapped, RFC 4291 section 2.5.5.2
	netip.MustParsePrefix("::ffff:0:0:0/96"), // IPv4-translated, RFC 2765 section 2.1
	netip.MustParsePrefix("64:ff9b:1::/48"),  // NAT64 for local use, RFC 8215
	netip.MustParsePrefix("2001::/32"),       // Teredo, RFC 4380
	netip.MustParsePrefix("2002::/16"),       // 6to4, RFC 3056
}

// MayDial reports whether milterd may connect to an address that strangers choose, as in the DNS: it must not let them reach the
// site's own network. own are the addresses of the site. private allows addresses that are not globally reachable.
//
// The IPv4 address in a NAT64 address decides: DNS64 makes such an address of an A record for hosts without IPv4, RFC 6147.
func MayDial(a netip.Addr, own []netip.Addr, private bool) bool {
	a = a.WithZone("")
	if nat64.Contains(a) {
		b := a.As16()
		return MayDial(netip.AddrFrom4([4]byte(b[12:])), own, private)
	}
	embeds := slices.ContainsFunc(embedding[:], func(p netip.Prefix) bool { return p.Contains(a) })
	if embeds && a != netip.IPv6Loopback() || slices.Contains(own, a) {
		return false
	}
	isHost := a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a != broadcast
	return isHost && (private || GloballyReachable(a))
}
