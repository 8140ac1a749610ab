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
	PTR       []string // all names in the reverse zone
	Confirmed []string // those that resolve to the client

	unknown    []string // those whose addresses were not found out
	incomplete error    // why a confirmed name may be missing
	failed     error    // a lookup failed: it may succeed for the next message
}

// maxUnknown is the number of names that Unsure compares. A hostile reverse zone can have thousands.
const maxUnknown = 256

// Unsure returns why the client may have a confirmed name for which match is true, although Confirmed has none. It returns
// nil if the client certainly has none.
func (n ClientNames) Unsure(match func(name string) bool) error {
	if len(n.PTR) == 0 || len(n.unknown) > maxUnknown || slices.ContainsFunc(n.unknown, match) {
		return n.incomplete
	}
	return nil
}

type (
	ptrKey   struct{}
	iprevKey struct{}
)

// Iprev looks up the names of the client and their addresses, RFC 8601 section 3, and remembers them for the connection. It
// does not use Session.ClientName: an MTA does not distinguish a name that does not exist from one that could not be looked
// up.
//
// One confirmed name makes a pass, whatever the other lookups return. Without any, a failed lookup makes a temperror, which
// has an error. More names than are looked up make one too, as the next name might have been confirmed.
func Iprev(ctx context.Context, env checks.Env, r *checks.Request) (ClientNames, error) {
	if !r.Client.IsValid() {
		return ClientNames{}, nil
	}
	n, err := checks.Remember(r, checks.Connect, iprevKey{}, func() (ClientNames, error) {
		ptr, err := ClientPTR(ctx, env, r)
		if err != nil {
			return ClientNames{Result: IprevTempError, incomplete: err}, err
		}
		n := confirm(ctx, env.DNS, r.Client, ptr)
		return n, n.failed
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
		list[i].Then = func(a checks.Answer) []checks.Query { return queries(forwardQuestions(client, ptrNames(a))) }
		list[i].Key = iprevKey{}
	}
	return list
}

// ClientPTR returns the names that the reverse zone gives to the client, confirmed or not, in the form of ClientNames. It
// remembers them for the connection. A client without address has none.
func ClientPTR(ctx context.Context, env checks.Env, r *checks.Request) ([]string, error) {
	q, ok := ptrQuestion(r.Client)
	if !ok {
		return nil, nil
	}
	return checks.Remember(r, checks.Connect, ptrKey{}, func() ([]string, error) {
		a, err := env.DNS.Lookup(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("reverse DNS of %s: %w", r.Client, err)
		}
		return ptrNames(a), nil
	})
}

// PrefetchPTR returns the question of ClientPTR.
func PrefetchPTR(r *checks.Request) []checks.Query {
	q, ok := ptrQuestion(r.Client)
	if !ok {
		return nil
	}
	return []checks.Query{{Question: q}}
}

// ClientNamed reports whether the client has a confirmed name for which match is true. With an error it is false and might
// be true.
func ClientNamed(ctx context.Context, env checks.Env, r *checks.Request, match func(name string) bool) (bool, error) {
	names, _ := Iprev(ctx, env, r)
	if slices.ContainsFunc(names.Confirmed, match) {
		return true, nil
	}
	return false, names.Unsure(match)
}

// confirm looks up the addresses of the names.
func confirm(ctx context.Context, resolver checks.Resolver, client netip.Addr, ptr []string) ClientNames {
	n := ClientNames{PTR: ptr}
	if len(ptr) == 0 {
		n.Result = IprevPermError
		return n
	}
	for i, res := range checks.LookupAll(ctx, resolver, forwardQuestions(client, ptr)...) {
		switch {
		case res.Err != nil:
			n.unknown = append(n.unknown, ptr[i])
			n.failed = cmp.Or(n.failed, fmt.Errorf("address of %s, reverse DNS name of %s: %w", ptr[i], client, res.Err))
		case slices.Contains(checks.Addresses(res.Answer), client.WithZone("")):
			n.Confirmed = append(n.Confirmed, ptr[i])
		}
	}
	n.incomplete = n.failed
	if len(ptr) > maxHosts {
		n.unknown = append(n.unknown, ptr[maxHosts:]...)
		n.incomplete = cmp.Or(n.incomplete, fmt.Errorf("%s has %d reverse DNS names, only the first %d were looked up", client, len(ptr), maxHosts))
	}
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

// ptrQuestion returns the question for the names of the client. ok is false if it has no address.
func ptrQuestion(client netip.Addr) (q checks.Question, ok bool) {
	name, err := dns.ReverseAddr(client.WithZone("").String())
	if err != nil {
		return q, false
	}
	return checks.Ask(name, dns.TypePTR), true
}

// ptrNames returns the names in an answer. A PTR record with the root, which some providers use for "none", has no name.
func ptrNames(a checks.Answer) []string {
	var names []string
	for _, rr := range checks.RecordsOf[*dns.PTR](a) {
		if n := trimName(rr.Ptr); n != "" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// forwardQuestions returns the questions for the addresses of names, in the client's family.
func forwardQuestions(client netip.Addr, names []string) []checks.Question {
	var questions []checks.Question
	for _, n := range names[:min(len(names), maxHosts)] {
		questions = append(questions, checks.Ask(n, checks.AddressType(client)))
	}
	return questions
}
