package facts

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"milterd/checks"
)

// IprevResult is a result of the method "iprev", RFC 8601 section 2.7.3. The zero value means that there is no client
// address.
type IprevResult string

// The results.
const (
	IprevPass      IprevResult = "pass"      // a name of the client resolves to it
	IprevFail      IprevResult = "fail"      // the client has names, and none resolves to it
	IprevPermError IprevResult = "permerror" // the client has no name
	IprevTempError IprevResult = "temperror" // the DNS did not answer
)

// ClientNames are the reverse DNS names of the client. All are lower case, without the dot at the end, and sorted, as the
// order in the DNS is random.
type ClientNames struct {
	Result    IprevResult
	PTR       []string // names in the reverse zone, at most ten: a hostile zone has thousands
	More      int      // names that are not in PTR
	Confirmed []string // those of PTR that resolve to the client

	unknown    []string // those of PTR whose addresses could not be looked up
	incomplete error    // why a confirmed name may be missing
	failed     error    // the first lookup that failed
}

// Unsure returns why the client may have a confirmed name for which match is true, although Confirmed has none. It returns
// nil if the client certainly has none.
func (n ClientNames) Unsure(match func(name string) bool) error {
	if len(n.PTR) == 0 || n.More > 0 || slices.ContainsFunc(n.unknown, match) {
		return n.incomplete
	}
	return nil
}

// clientShare is the share of the time that the names of the client may take, or the SPF record of the sender. Their servers may be a
// spammer's: with all of the time, slow ones would leave none for the checks that follow. With half of it, the answers after a lost
// packet could come too late.
const clientShare = 0.75

type (
	ptrKey   struct{}
	iprevKey struct{}
)

// Iprev looks up the names of the client and their addresses, RFC 8601 section 3, and remembers them for the connection. It
// does not use Session.ClientName: an MTA does not distinguish a name that does not exist from one that could not be looked
// up.
//
// One confirmed name makes a pass, whatever the other lookups return. Without any, a failed lookup makes a temperror, which has an
// error, and so do more than ten names: one that was not looked up might be confirmed.
func Iprev(ctx context.Context, env checks.Env, r *checks.Request) (ClientNames, error) {
	if !r.Client.IsValid() {
		return ClientNames{}, nil
	}
	n, err := checks.Remember(r, checks.Connect, iprevKey{}, func() (ClientNames, error) {
		ctx, cancel := checks.WithShare(ctx, clientShare)
		defer cancel()
		ptr, err := lookupPTR(ctx, env, r)
		if err != nil {
			return ClientNames{Result: IprevTempError, incomplete: err}, err
		}
		n := confirm(ctx, env.DNS, r.Client, ptr)
		return n, n.failed // an error has all lookups repeated for the next message
	})
	if n.Result == IprevTempError {
		return n, cmp.Or(err, n.incomplete)
	}
	return n, nil
}

// PrefetchIprev returns the questions of Iprev.
func PrefetchIprev(r *checks.Request) []checks.Query {
	list := PrefetchPTR(r)
	client := r.Client
	for i := range list {
		list[i].Then = func(a checks.Answer) []checks.Query {
			return checks.Queries(checks.AddressQuestions(client, ptrNames(a).names)...)
		}
		list[i].Key = iprevKey{}
	}
	return list
}

// ClientPTR returns the names that the reverse zone gives to the client, confirmed or not, as in ClientNames. It remembers
// them for the connection. A client without address has none. If there are more than ten, the others are an error.
func ClientPTR(ctx context.Context, env checks.Env, r *checks.Request) ([]string, error) {
	ptr, err := lookupPTR(ctx, env, r)
	return ptr.names, cmp.Or(err, ptr.tooMany(r.Client))
}

// ptrResult has the names that a reverse zone gives to a client, as in ClientNames.
type ptrResult struct {
	names []string
	more  int
}

func (p ptrResult) tooMany(client netip.Addr) error {
	if p.more == 0 {
		return nil
	}
	return fmt.Errorf("%s has %d reverse DNS names, only the first %d were looked up", client, len(p.names)+p.more, maxHosts)
}

func lookupPTR(ctx context.Context, env checks.Env, r *checks.Request) (ptrResult, error) {
	if !r.Client.IsValid() {
		return ptrResult{}, nil
	}
	return checks.Remember(r, checks.Connect, ptrKey{}, func() (ptrResult, error) {
		ctx, cancel := checks.WithShare(ctx, clientShare)
		defer cancel()
		a, err := env.DNS.Lookup(ctx, ptrQuestion(r.Client))
		if err != nil {
			return ptrResult{}, fmt.Errorf("reverse DNS of %s: %w", r.Client, err)
		}
		return ptrNames(a), nil
	})
}

// PrefetchPTR returns the question of ClientPTR.
func PrefetchPTR(r *checks.Request) []checks.Query {
	if !r.Client.IsValid() {
		return nil
	}
	return checks.Queries(ptrQuestion(r.Client))
}

// ClientNamed reports whether the client has a confirmed name for which match is true.
func ClientNamed(ctx context.Context, env checks.Env, r *checks.Request, match func(name string) bool) (bool, error) {
	names, _ := Iprev(ctx, env, r)
	if slices.ContainsFunc(names.Confirmed, match) {
		return true, nil
	}
	return false, names.Unsure(match)
}

func confirm(ctx context.Context, resolver checks.Resolver, client netip.Addr, ptr ptrResult) ClientNames {
	n := ClientNames{PTR: ptr.names, More: ptr.more}
	if len(n.PTR) == 0 {
		n.Result = IprevPermError
		return n
	}
	for i, res := range checks.LookupAll(ctx, resolver, checks.AddressQuestions(client, n.PTR)...) {
		switch {
		case res.Err != nil:
			n.unknown = append(n.unknown, n.PTR[i])
			n.failed = cmp.Or(n.failed, fmt.Errorf("address of %s, reverse DNS name of %s: %w", n.PTR[i], client, res.Err))
		case slices.Contains(checks.Addresses(res.Answer), client):
			n.Confirmed = append(n.Confirmed, n.PTR[i])
		}
	}
	n.incomplete = cmp.Or(n.failed, ptr.tooMany(client))
	switch {
	case len(n.Confirmed) > 0:
		n.Result = IprevPass
	case n.incomplete != nil:
		n.Result = IprevTempError
	default:
		n.Result = IprevFail
	}
	return n
}

func ptrQuestion(client netip.Addr) checks.Question {
	name, _ := dns.ReverseAddr(client.String()) // fails only for an invalid address
	return checks.Ask(name, dns.TypePTR)
}

func ptrNames(a checks.Answer) ptrResult {
	names := checks.PTRNames(a)
	n := min(len(names), maxHosts)
	return ptrResult{names: slices.Clone(names[:n]), more: len(names) - n}
}
