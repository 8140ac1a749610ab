package facts

import "net/netip"

// block is one entry of IANA's special-purpose address registries.
type block struct {
	netip.Prefix
	reachable bool // the column "Globally Reachable"
}

// special is what the IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190) say, as of 2025, with two
// differences. Multicast and the site-local addresses of old are in it, which other registries have: no mail is sent to
// them. And blocks whose reachability the registry gives as "N/A" (6to4 and its relays, Teredo: it depends on what is
// embedded) count as reachable, since the doubt is the sender's. The longest prefix that contains an address decides.
var special = [...]block{
	no("0.0.0.0/8"),          // this network, RFC 791
	no("10.0.0.0/8"),         // private use, RFC 1918
	no("100.64.0.0/10"),      // shared address space of carriers, RFC 6598
	no("127.0.0.0/8"),        // loopback, RFC 1122
	no("169.254.0.0/16"),     // link local, RFC 3927
	no("172.16.0.0/12"),      // private use, RFC 1918
	no("192.0.0.0/24"),       // IETF protocol assignments, RFC 6890
	yes("192.0.0.9/32"),      // Port Control Protocol anycast, RFC 7723
	yes("192.0.0.10/32"),     // TURN anycast, RFC 8155
	no("192.0.2.0/24"),       // documentation, RFC 5737
	yes("192.31.196.0/24"),   // AS112, RFC 7535
	yes("192.52.193.0/24"),   // AMT, RFC 7450
	yes("192.88.99.0/24"),    // deprecated 6to4 relay anycast, RFC 7526: "N/A"
	no("192.88.99.2/32"),     // 6a44 relay anycast, RFC 6751
	no("192.168.0.0/16"),     // private use, RFC 1918
	yes("192.175.48.0/24"),   // direct delegation AS112, RFC 7534
	no("198.18.0.0/15"),      // benchmarking, RFC 2544
	no("198.51.100.0/24"),    // documentation, RFC 5737
	no("203.0.113.0/24"),     // documentation, RFC 5737
	no("224.0.0.0/4"),        // multicast, RFC 5771
	no("240.0.0.0/4"),        // reserved, RFC 1112, and limited broadcast, RFC 8190
	no("::/128"),             // unspecified, RFC 4291
	no("::1/128"),            // loopback, RFC 4291
	no("::ffff:0:0/96"),      // IPv4-mapped, RFC 4291
	yes("64:ff9b::/96"),      // IPv4-IPv6 translation, RFC 6052
	no("64:ff9b:1::/48"),     // the same for local use, RFC 8215
	no("100::/64"),           // discard-only, RFC 6666
	no("100:0:0:1::/64"),     // dummy prefix, RFC 9780
	no("2001::/23"),          // IETF protocol assignments, RFC 2928
	yes("2001::/32"),         // Teredo, RFC 4380: "N/A"
	yes("2001:1::1/128"),     // Port Control Protocol anycast, RFC 7723
	yes("2001:1::2/128"),     // TURN anycast, RFC 8155
	yes("2001:1::3/128"),     // DNS-SD service registration anycast, RFC 9665
	no("2001:2::/48"),        // benchmarking, RFC 5180
	yes("2001:3::/32"),       // AMT, RFC 7450
	yes("2001:4:112::/48"),   // AS112, RFC 7535
	yes("2001:20::/28"),      // ORCHIDv2, RFC 7343
	yes("2001:30::/28"),      // drone remote identification, RFC 9374
	no("2001:db8::/32"),      // documentation, RFC 3849
	yes("2002::/16"),         // 6to4, RFC 3056: "N/A"
	yes("2620:4f:8000::/48"), // direct delegation AS112, RFC 7534
	no("3fff::/20"),          // documentation, RFC 9637
	no("5f00::/16"),          // segment routing identifiers, RFC 9602
	no("fc00::/7"),           // unique local, RFC 4193
	no("fe80::/10"),          // link local, RFC 4291
	no("fec0::/10"),          // site local, deprecated by RFC 3879
	no("ff00::/8"),           // multicast, RFC 4291
}

func no(prefix string) block  { return block{netip.MustParsePrefix(prefix), false} }
func yes(prefix string) block { return block{netip.MustParsePrefix(prefix), true} }

// GloballyReachable tells whether packets to an address can cross the Internet, as far as IANA's registries of
// special-purpose addresses know: an address of no special purpose is reachable, an invalid one is not. Documentation
// ranges are not.
func GloballyReachable(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	a = a.WithZone("")
	reachable, bits := true, -1
	for i := range special { // not a copy of all
		b := &special[i]
		if b.Bits() > bits && b.Contains(a) {
			reachable, bits = b.reachable, b.Bits()
		}
	}
	return reachable
}
