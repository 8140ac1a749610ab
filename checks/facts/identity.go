package facts

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"golang.org/x/net/publicsuffix"

	"milterd/checks"
)

// Identity says who a client is, as far as it can be known from one delivery to the next: mail hosts of one sender come
// from many addresses. The zero value is a client whose address the MTA could not tell.
type Identity struct {
	// Domain is the organisational domain of a confirmed name of the client, or the domain for which it passes SPF. It is
	// empty if there is neither.
	Domain  string
	SPF     bool         // Domain is that of SPF
	Network netip.Prefix // the client's /24, for IPv6 /64; the address alone if it is spelled in a name of the client
}

// String is the identity in one word: the domain, else the network, which is written as an address if it is one.
func (i Identity) String() string {
	if i.Domain != "" {
		return i.Domain
	}
	return i.network()
}

// Narrow is the widest thing that a standing permission may be given to: the domain for which the client passes SPF, else
// the organisational domain together with the network, else the network. It is empty for an unknown client.
//
// Big networks have customers of all kinds under one organisational domain; whoever publishes an SPF record has chosen the
// addresses in it.
func (i Identity) Narrow() string {
	switch {
	case !i.Network.IsValid():
		return ""
	case i.Domain == "":
		return i.network()
	case i.SPF:
		return i.Domain
	default:
		return i.Domain + " " + i.network()
	}
}

func (i Identity) network() string {
	switch {
	case !i.Network.IsValid():
		return "unknown"
	case i.Network.IsSingleIP():
		return i.Network.Addr().String()
	default:
		return i.Network.String()
	}
}

// Network is the /24 of an IPv4 address, the /64 of an IPv6 address: what one provider gives to one customer, or one mail
// site uses for its hosts. It is invalid for an invalid address.
func Network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits) // an error for an invalid address alone
	return p
}

// OrgDomain is the organisational domain of a name in the form of ClientNames: the label below the public suffix and that
// suffix, as in RFC 7489 section 3.2. It is empty if the name is a public suffix itself or has one label.
func OrgDomain(name string) string {
	org, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return ""
	}
	return org
}

// identityKey is the key of what ClientIdentity remembers.
type identityKey struct{}

// ClientIdentity finds out who the client is and remembers it for the transaction. It is for the stage MailFrom and later
// ones.
//
// The first that holds: the organisational domain of a confirmed name that does not spell the address; the domain for
// which the client passes SPF, if the pass is not too wide (that of MAIL FROM, with a null reverse-path that of HELO); the
// address, if a name of the client, confirmed or not, spells it: neighbours are strangers there; its network.
//
// With an error there is an identity too, but a better one may exist.
func ClientIdentity(ctx context.Context, env checks.Env, s *checks.Request) (Identity, error) {
	return checks.Remember(s, checks.MailFrom, identityKey{}, func() (Identity, error) { return identify(ctx, env, s) })
}

func identify(ctx context.Context, env checks.Env, s *checks.Request) (Identity, error) {
	id := Identity{Network: Network(s.Client)}
	if !s.Client.IsValid() {
		return id, nil
	}
	names, errNames := Iprev(ctx, env, s)
	for _, n := range names.Confirmed {
		if org := OrgDomain(n); org != "" && !clientPool(s, n) {
			id.Domain = org
			return id, nil
		}
	}
	spelled := func(name string) bool { return clientPool(s, name) }
	if slices.ContainsFunc(firstN(names.PTR, maxHosts), spelled) {
		a := s.Client.Unmap().WithZone("")
		id.Network = netip.PrefixFrom(a, a.BitLen())
	}
	spf, errSPF := MailFromSPF(ctx, env, s)
	passes, errWide := spf.Identifies()
	if passes {
		id.Domain, id.SPF = spf.Domain, true
		return id, nil
	}
	return id, cmp.Or(errNames, errSPF, errWide)
}

// IdentityAhead announces what ClientIdentity asks, at Connect and at MailFrom.
func IdentityAhead(s *checks.Request) []checks.Query {
	switch s.Stage {
	case checks.Connect:
		return IprevAhead(s)
	case checks.MailFrom:
		return PrefetchMailFromSPF(s)
	default:
		return nil
	}
}

// SenderIsClients tells whether the client may speak for the domain of the reverse-path: it passes SPF for it, and not too
// widely, or has a confirmed name under it. A name that spells the client's address never counts, as networks give such
// names to whole pools, nor does a public suffix as domain. It is false for a null reverse-path. It is for the stage
// MailFrom and later ones.
//
// With an error it is false, and might be true.
func SenderIsClients(ctx context.Context, env checks.Env, s *checks.Request) (bool, error) {
	domain := s.Envelope.MailFrom.Domain
	if domain == "" || !s.Client.IsValid() || OrgDomain(domain) == "" {
		return false, nil
	}
	return checks.Remember(s, checks.MailFrom, senderIsClientsKey{}, func() (bool, error) {
		named, errNames := ClientNamed(ctx, env, s, func(n string) bool { return checks.Under(n, domain) && !clientPool(s, n) })
		if named {
			return true, nil
		}
		spf, errSPF := MailFromSPF(ctx, env, s)
		passes, errWide := spf.Identifies()
		if passes {
			return true, nil
		}
		return false, cmp.Or(errNames, errSPF, errWide)
	})
}

// senderIsClientsKey is the key of what SenderIsClients remembers.
type senderIsClientsKey struct{}

// clientPoolKey is the key of what clientPool remembers of a name.
type clientPoolKey struct{ name string }

// clientPool is PoolName of a name of the client, remembered for the connection: of some hundred at most, see maxUnknown.
func clientPool(s *checks.Request, name string) bool {
	pool, _ := checks.Remember(s, checks.Connect, clientPoolKey{name}, func() (bool, error) { return PoolName(s.Client, name), nil })
	return pool
}
