package rdap

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"syscall"

	"milterd/checks"
)

// anyAddressKey is the context key of the host and port that may have any address.
type anyAddressKey struct{}

// allowAnyAddress returns a context in which server may have any address. A host that server redirects to must have a
// public one.
func allowAnyAddress(ctx context.Context, server *url.URL) context.Context {
	port := cmp.Or(server.Port(), map[string]string{"http": "80", "https": "443"}[server.Scheme])
	return context.WithValue(ctx, anyAddressKey{}, net.JoinHostPort(server.Hostname(), port))
}

var errNotPublic = errors.New("the address is not public")

// dialer returns a function that connects to public addresses, and to the host of allowAnyAddress. It checks the address that is
// connected to: a check before the name is resolved could see another DNS answer.
func dialer(public func(netip.Addr) bool) func(ctx context.Context, network, addr string) (net.Conn, error) {
	control := func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !public(to.Addr().Unmap().WithZone("")) {
			return errNotPublic
		}
		return nil
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		if ctx.Value(anyAddressKey{}) != addr {
			d.Control = control
		}
		return d.DialContext(ctx, network, addr)
	}
}

// public reports whether an address belongs to the public Internet.
func public(a netip.Addr) bool { return checks.MayDial(a, nil, false) }
