package facts

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"milterd/checks"
)

// Identity is the part of what is known of a client that stays the same between deliveries: a sender's mail hosts have many
// addresses. The zero value is a client without address.
type Identity struct {
	Domain  string       // see ClientIdentity; may be empty
	bySPF   bool         // Domain is that of SPF
	Network netip.Prefix // see checks.Network; the address alone if the client has a pool name
}

// String returns the domain, or else the network.
func (i Identity) String() string {
	if i.Domain != "" {
		return i.Domain
	}
	return i.NetworkName()
}

// Narrow returns a narrower form of the identity, for the evidence about a client: the domain of SPF, or the organisational
// domain with the network, or the network. It is empty for a client without address.
//
// The network is needed as all customers of a big network have names under one organisational domain. It is not needed with
// SPF, as the owner of a domain chose the addresses in its SPF record.
func (i Identity) Narrow() string {
	switch {
	case !i.Network.IsValid():
		return ""
	case i.Domain == "":
		return i.NetworkName()
	case i.bySPF:
		return i.Domain
	default:
		return i.Domain + " " + i.NetworkName()
	}
}

// NetworkName returns the network, or the address if it has only one, or "unknown" for a client without address.
func (i Identity) NetworkName() string {
	if !i.Network.IsValid() {
		return "unknown"
	}
	return checks.FormatNetwork(i.Network)
}

type identityKey struct{}

// ClientIdentity returns who the client is and remembers it for the transaction. It is for the stage MailFrom and later
// ones. The first of these decides (pool names: see IsPoolName):
//
//   - a confirmed name that is no pool name: its organisational domain
//   - SPF of MAIL FROM, see spf.Evaluation.Identifies: the domain
//   - SPF of HELO with a null reverse-path: the organisational domain, as each host of a sender has a HELO name of its own; the
//     HELO name itself if it is a pool name
//   - a pool name, confirmed or not: the address, as its neighbours belong to others
//   - the network
//
// With an error, the client may have an identity that comes before.
func ClientIdentity(ctx context.Context, env checks.Env, r *checks.Request) (Identity, error) {
	return checks.Remember(r, checks.MailFrom, identityKey{}, func() (Identity, error) { return identifyClient(ctx, env, r) })
}

func identifyClient(ctx context.Context, env checks.Env, r *checks.Request) (Identity, error) {
	id := Identity{Network: checks.Network(r.Client)}
	if !r.Client.IsValid() {
		return id, nil
	}
	names, _ := Iprev(ctx, env, r)
	isPool := func(name string) bool { return ClientPoolName(r, name) }
	identifies := func(name string) bool { return checks.OrgDomain(name) != "" && !isPool(name) }
	if i := slices.IndexFunc(names.Confirmed, identifies); i >= 0 {
		id.Domain = checks.OrgDomain(names.Confirmed[i])
		return id, nil
	}
	if slices.ContainsFunc(names.PTR, isPool) {
		id.Network = netip.PrefixFrom(r.Client, r.Client.BitLen())
	}
	domain, errSPF := identifiedBySPF(ctx, env, r)
	if org := checks.OrgDomain(domain); r.Envelope.MailFrom.IsNull() && org != "" && !IsPoolName(r.Client, domain) {
		id.Domain = org
		return id, nil
	}
	if domain != "" {
		id.Domain, id.bySPF = domain, true
		return id, nil
	}
	return id, cmp.Or(names.Unsure(identifies), errSPF)
}

// identifiedBySPF returns the domain for which the client passes SPF, or "".
func identifiedBySPF(ctx context.Context, env checks.Env, r *checks.Request) (string, error) {
	ev, err := MailFromSPF(ctx, env, r)
	if err != nil {
		return "", err
	}
	if ok, err := ev.Identifies(); !ok {
		return "", err
	}
	return ev.Domain, nil
}

// PrefetchIdentity returns the questions of ClientIdentity at the stage of the Request.
func PrefetchIdentity(r *checks.Request) []checks.Query {
	switch r.Stage {
	case checks.Connect:
		return PrefetchIprev(r)
	case checks.MailFrom:
		return PrefetchMailFromSPF(r)
	default:
		return nil
	}
}

type verifiedKey struct{}

// SenderVerified reports whether the client belongs to the domain of the reverse-path, and remembers it for the
// transaction: the client passes SPF, and the policy is not too wide, or it has a confirmed name under the domain that is no
// pool name. It is false for a null reverse-path and for a public suffix as domain. It is for the stage MailFrom and later
// ones.
func SenderVerified(ctx context.Context, env checks.Env, r *checks.Request) (bool, error) {
	return checks.Remember(r, checks.MailFrom, verifiedKey{}, func() (bool, error) { return verifySender(ctx, env, r) })
}

func verifySender(ctx context.Context, env checks.Env, r *checks.Request) (bool, error) {
	domain := r.Envelope.MailFrom.Domain
	if domain == "" || !r.Client.IsValid() || checks.OrgDomain(domain) == "" {
		return false, nil
	}
	named, errNames := ClientNamed(ctx, env, r, func(n string) bool {
		return checks.Under(n, domain) && !ClientPoolName(r, n)
	})
	if named {
		return true, nil
	}
	passes, errSPF := identifiedBySPF(ctx, env, r)
	if passes != "" {
		return true, nil
	}
	return false, cmp.Or(errNames, errSPF)
}
