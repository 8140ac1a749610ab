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

// IprevResult is the result of the "iprev" method, RFC 8601 sections 2.7.3 and 3. Empty: there is no client to ask about.
type IprevResult string

// The results.
const (
	IprevPass      IprevResult = "pass"      // a name of the client leads back to it
	IprevFail      IprevResult = "fail"      // it has names, and none leads back
	IprevPermError IprevResult = "permerror" // it has no name
	IprevTempError IprevResult = "temperror" // could not be found out
)

// ClientNames is what the DNS calls the client. All names are lower case, without the dot at their end, and sorted, as the
// DNS gives its answers in any order.
type ClientNames struct {
	Result    IprevResult
	PTR       []string // every name in the reverse zone
	Confirmed []string // those that have the client's address among their own
	Unknown   []string // those whose addresses could not be found out

	why  error // something could not be found out
	lost error // a lookup failed, which may be another thing with the next mail
}

// maxUnknown is how many names are looked at for whether one of them may be somebody's.
const maxUnknown = 256

// Unsure tells why the client may have a confirmed name that match takes though there is none: its names, or the addresses of such
// a name, could not be found out. It is nil if it cannot. Among very many names there may be any.
func (n ClientNames) Unsure(match func(name string) bool) error {
	if len(n.PTR) == 0 || len(n.Unknown) > maxUnknown || slices.ContainsFunc(n.Unknown, match) {
		return n.why
	}
	return nil
}

// ClientNamed tells whether a confirmed name of the client is one that match takes. With an error it is false, and might be true.
func ClientNamed(ctx context.Context, env checks.Env, s *checks.Request, match func(name string) bool) (bool, error) {
	names, _ := Iprev(ctx, env, s)
	if slices.ContainsFunc(names.Confirmed, match) {
		return true, nil
	}
	return false, names.Unsure(match)
}

type (
	ptrKey   struct{}
	iprevKey struct{}
)

// ClientPTR returns the names that the reverse zone gives to the client, confirmed or not, in the form of ClientNames. It is
// remembered for the connection. There are none for a client without address.
func ClientPTR(ctx context.Context, env checks.Env, s *checks.Request) ([]string, error) {
	q, ok := ptrQuestion(s.Client)
	if !ok {
		return nil, nil
	}
	return checks.Remember(s, checks.Connect, ptrKey{}, func() ([]string, error) {
		a, err := env.DNS.Lookup(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("reverse DNS of %s: %w", s.Client, err)
		}
		return ptrNames(a), nil
	})
}

// Iprev asks for the client's names and for their addresses, RFC 8601 section 3, and remembers it for the connection. The
// MTA's word is not used: it cannot tell a name that does not exist from one that could not be asked for.
//
// One confirmed name is a pass, whatever became of the others. Without any, a lookup that failed makes it a temperror,
// which has an error, and so do more names than are looked at: the next one might have been confirmed.
func Iprev(ctx context.Context, env checks.Env, s *checks.Request) (ClientNames, error) {
	if !s.Client.IsValid() {
		return ClientNames{}, nil
	}
	n, err := checks.Remember(s, checks.Connect, iprevKey{}, func() (ClientNames, error) {
		ptr, err := ClientPTR(ctx, env, s)
		if err != nil {
			return ClientNames{Result: IprevTempError, why: err, lost: err}, err
		}
		n := confirm(ctx, env.DNS, s.Client, ptr)
		return n, n.lost // to be asked for again with the next mail
	})
	if n.Result == IprevTempError {
		return n, cmp.Or(err, n.why)
	}
	return n, nil
}

func confirm(ctx context.Context, r checks.Resolver, client netip.Addr, ptr []string) ClientNames {
	n := ClientNames{PTR: ptr}
	if len(ptr) == 0 {
		n.Result = IprevPermError
		return n
	}
	for i, f := range checks.LookupAll(ctx, r, forward(client, ptr)...) {
		switch {
		case f.Err != nil:
			n.Unknown = append(n.Unknown, ptr[i])
			n.lost = cmp.Or(n.lost, fmt.Errorf("address of %s, reverse DNS name of %s: %w", ptr[i], client, f.Err))
		case slices.Contains(checks.Addresses(f.Answer), client.WithZone("")):
			n.Confirmed = append(n.Confirmed, ptr[i])
		}
	}
	n.why = n.lost
	if len(ptr) > maxHosts {
		n.Unknown = append(n.Unknown, ptr[maxHosts:]...)
		n.why = cmp.Or(n.why, fmt.Errorf("%s has %d reverse DNS names, only the first %d were asked about", client, len(ptr), maxHosts))
	}
	switch {
	case len(n.Confirmed) > 0:
		n.Result = IprevPass
	case n.why != nil:
		n.Result = IprevTempError
	default:
		n.Result = IprevFail
	}
	return n
}

// ptrQuestion asks for the client's names; ok is false if it has no address.
func ptrQuestion(client netip.Addr) (q checks.Question, ok bool) {
	name, err := dns.ReverseAddr(client.WithZone("").String())
	if err != nil {
		return q, false
	}
	return checks.Ask(name, dns.TypePTR), true
}

// ptrNames reads the answer. A PTR record that points to the root, as some providers have for "none", gives no name.
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

// forward asks for the addresses of the client's names, in the client's family: a name with the other family's address
// alone does not lead back.
func forward(client netip.Addr, ptr []string) []checks.Question {
	var qs []checks.Question
	for _, n := range firstN(ptr, maxHosts) {
		qs = append(qs, checks.Ask(n, checks.AddressType(client)))
	}
	return qs
}

// PTRAhead announces what ClientPTR asks.
func PTRAhead(s *checks.Request) []checks.Query {
	q, ok := ptrQuestion(s.Client)
	if !ok {
		return nil
	}
	return []checks.Query{{Question: q}}
}

// IprevAhead announces what Iprev asks.
func IprevAhead(s *checks.Request) []checks.Query {
	out := PTRAhead(s)
	client := s.Client
	for i := range out {
		out[i].Then = func(a checks.Answer) []checks.Query { return ahead(forward(client, ptrNames(a))) }
		out[i].Key = iprevKey{}
	}
	return out
}
