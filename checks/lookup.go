package checks

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// WithShare returns a context with a share, from 0 to 1, of the time that ctx has left. A check uses it for questions to name
// servers of strangers, so that slow ones leave time for the questions that follow. After the deadline of ctx a resolver answers
// nothing, not even from its cache.
func WithShare(ctx context.Context, share float64) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return WithTimeout(ctx, time.Duration(share*float64(time.Until(deadline))))
}

// LookupResult is the result of one question of LookupAll.
type LookupResult struct {
	Answer
	Err error
}

// LookupAll asks several questions at once and returns the results in their order.
func LookupAll(ctx context.Context, r Resolver, questions ...Question) []LookupResult {
	results := make([]LookupResult, len(questions))
	ask := func(i int) {
		results[i].Err = Protect(func() (err error) {
			results[i].Answer, err = r.Lookup(ctx, questions[i])
			return err
		})
	}
	last := len(questions) - 1
	var wg sync.WaitGroup
	for i := range last {
		wg.Go(func() { ask(i) })
	}
	if last >= 0 {
		ask(last)
	}
	wg.Wait()
	return results
}

// AddressType returns the type of the records that can hold an address: A or AAAA.
func AddressType(a netip.Addr) uint16 {
	if a.Is4() {
		return dns.TypeA
	}
	return dns.TypeAAAA
}

// AddressTypes returns the types of the records that hold addresses, first the one for the client's address. The answer to that
// shows whether a host is the client. If it has an address, the host exists, and the second question is not needed.
func AddressTypes(client netip.Addr) [2]uint16 {
	if client.Unmap().Is6() {
		return [...]uint16{dns.TypeAAAA, dns.TypeA}
	}
	return [...]uint16{dns.TypeA, dns.TypeAAAA}
}

// Addresses returns the addresses in the A and AAAA records of an answer. An IPv4-mapped address in an AAAA record remains
// one, as no mail can be sent to it.
func Addresses(a Answer) []netip.Addr {
	var list []netip.Addr
	for _, rr := range a.Records {
		switch rr := rr.(type) {
		case *dns.A:
			if addr, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				list = append(list, addr)
			}
		case *dns.AAAA:
			if addr, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok {
				list = append(list, addr)
			}
		}
	}
	return list
}

// AddressQuestions returns the questions for the addresses of hosts in the family of a client.
func AddressQuestions(client netip.Addr, hosts []string) []Question {
	questions := make([]Question, len(hosts))
	for i, h := range hosts {
		questions[i] = Ask(h, AddressType(client))
	}
	return questions
}

// PTRNames returns the names in the PTR records of an answer: sorted, as the order in the DNS is random, each once, in lower case and
// without the dot at the end. A record with the root, which some providers use for "none", has no name.
func PTRNames(a Answer) []string {
	var names []string
	for _, rr := range RecordsOf[*dns.PTR](a) {
		if n := strings.TrimSuffix(dns.CanonicalName(rr.Ptr), "."); n != "" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Texts returns the texts of the TXT records in an answer: of each record the strings, joined and unescaped.
func Texts(a Answer) []string {
	var list []string
	for _, rr := range RecordsOf[*dns.TXT](a) {
		list = append(list, Unescape(strings.Join(rr.Txt, "")))
	}
	return list
}

// Unescape replaces the escapes of RFC 1035 section 5.1, which package dns leaves in names and in the strings of TXT records,
// by the bytes that they stand for.
func Unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			i++
			c = s[i]
			if isDigit := c >= '0' && c <= '9'; isDigit && i+2 < len(s) {
				if n, err := strconv.ParseUint(s[i:i+3], 10, 8); err == nil {
					c = byte(n)
					i += 2
				}
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}
