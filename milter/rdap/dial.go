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

// public reports whether an address belongs to the public Internet.
func public(a netip.Addr) bool { return checks.MayDial(a, nil, false) }
