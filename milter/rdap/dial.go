package rdap

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
)

// anyAddressKey is the context key of the host and port that may have any address.
type anyAddressKey struct{}

// allowAnyAddress returns a context in which server may have any address. A host that server redirects to must have a
// public one.
func allowAnyAddress(ctx context.Context, server *url.URL) context.Context {
	port := server.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[server.Scheme]
	}
	return context.WithValue(ctx, anyAddressKey{}, net.JoinHostPort(server.Hostname(), port))
}

// dialer connects to public addresses, and to the host of allowAnyAddress.
type dialer struct{ public func(netip.Addr) bool }

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var nd net.Dialer
	if ctx.Value(anyAddressKey{}) != addr {
		nd.Control = d.control
	}
	return nd.DialContext(ctx, network, addr)
}

var errNotPublic = errors.New("the address is not public")

// control checks the address that is connected to. A check before the name is resolved could see another DNS answer.
func (d *dialer) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !d.public(to.Addr().Unmap().WithZone("")) {
		return errNotPublic
	}
	return nil
}

// notPublic has the blocks of IANA's special-purpose registries (RFC 6890) that netip does not classify and in which a
// host may listen. It has the blocks of 6to4 and Teredo too, whose addresses embed an IPv4 address: no registry uses
// them.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/23"),
}

// nat64 addresses embed an IPv4 address in their last 4 bytes, RFC 6052 section 2.1. A host without IPv4 reaches
// registries by them.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// public reports whether an address belongs to the public Internet.
func public(a netip.Addr) bool {
	if nat64.Contains(a) {
		b := a.As16()
		return public(netip.AddrFrom4([4]byte(b[12:])))
	}
	isIn := func(p netip.Prefix) bool { return p.Contains(a) }
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(notPublic, isIn)
}
