// Package facts holds what several checks need to know about a session: the confirmed names of the client, the mail hosts
// of the sender's domain, the SPF result. Each is found out once for its scope and remembered in the session, so that
// checks share what they know without knowing each other.
//
// A fact comes with an error if it could not be found out. What is certain in spite of the error is in the fact; nothing
// in it was made up because a question got no answer.
package facts

import (
	"context"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"milterd/checks"
)

// maxHosts is how many names of one answer are followed, so that a hostile zone cannot make us ask for hundreds. RFC 7208
// section 4.6.4 has the same number for the same reason.
const maxHosts = 10

// Found is what became of one question: an answer, or why there is none.
type Found struct {
	checks.Answer
	Err error

	known bool // without asking
}

// LookupAll asks several questions at once and returns what became of each, in their order.
func LookupAll(ctx context.Context, r checks.Resolver, questions ...checks.Question) []Found {
	found := make([]Found, len(questions))
	var wg sync.WaitGroup
	left := len(questions) // of which nothing is known
	known, _ := r.(checks.Knower)
	for i, q := range questions {
		if known == nil {
			break
		}
		var ok bool
		if found[i].Answer, ok, found[i].Err = known.Known(ctx, q); ok {
			found[i].known = true
			left--
		}
	}
	for i, q := range questions {
		switch {
		case found[i].known:
		case left == 1:
			found[i].Answer, found[i].Err = r.Lookup(ctx, q)
		default:
			wg.Go(func() { found[i] = lookup(ctx, r, q) })
			left--
		}
	}
	wg.Wait()
	return found
}

// lookup asks one question in a goroutine, where the Pipeline's own recover cannot reach: a panic would end the daemon.
func lookup(ctx context.Context, r checks.Resolver, q checks.Question) (f Found) {
	defer func() {
		if v := recover(); v != nil {
			f = Found{Err: fmt.Errorf("asking for %s: %w", q, &checks.PanicError{Value: v, Stack: debug.Stack()})}
		}
	}()
	f.Answer, f.Err = r.Lookup(ctx, q)
	return f
}

// Addrs returns the addresses in the A and AAAA records of an answer. An AAAA record may hold an IPv4-mapped address; it
// stays one, as no mail ever reaches it.
func Addrs(a checks.Answer) []netip.Addr {
	var out []netip.Addr
	for _, rr := range a.Records {
		switch rr := rr.(type) {
		case *dns.A:
			if addr, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				out = append(out, addr)
			}
		case *dns.AAAA:
			if addr, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok {
				out = append(out, addr)
			}
		}
	}
	return out
}

// AddrType is the type of record that can hold the address: A or AAAA.
func AddrType(a netip.Addr) uint16 {
	if a.Is4() {
		return dns.TypeA
	}
	return dns.TypeAAAA
}

// trimName brings a name from the DNS into the form that Session has: lower case, without the dot at its end. The root
// becomes the empty name.
func trimName(name string) string {
	return strings.TrimSuffix(dns.CanonicalName(name), ".")
}

// addrQuestions asks for all addresses of the names: A and AAAA of the first, A and AAAA of the second, and so on.
func addrQuestions(names ...string) []checks.Question {
	var qs []checks.Question
	for _, n := range names {
		qs = append(qs, checks.Ask(n, dns.TypeA), checks.Ask(n, dns.TypeAAAA))
	}
	return qs
}

// ahead makes plain questions into announced ones that nothing follows from.
func ahead(questions []checks.Question) []checks.Query {
	out := make([]checks.Query, 0, len(questions))
	for _, q := range questions {
		out = append(out, checks.Query{Question: q})
	}
	return out
}

// firstN cuts a list to its first n elements.
func firstN[T any](list []T, n int) []T { return slices.Clip(list[:min(n, len(list))]) }
