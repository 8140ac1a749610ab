package dnsbl

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"milterd/checks"
)

// Codes is a range of return codes, RFC 5782 section 2.1: the first and the last. In the configuration it is an address, two
// with a hyphen between, or a network: "127.0.0.2", "127.0.0.2-127.0.0.11", "127.0.0.0/8".
type Codes [2]netip.Addr

var (
	// loopback is where every answer of a list lies, RFC 5782 section 2.1. An address elsewhere is that of a domain dealer who
	// bought the zone, or of a resolver that sends people to its search page.
	loopback = netip.MustParsePrefix("127.0.0.0/8")
	// refusals are the answers with which lists say that they do not want a query.
	refusals = netip.MustParsePrefix("127.255.255.0/24")
	// never is no listing either: RFC 5782 section 2.1 advises lists against it, and URIBL and SURBL say with it that they do not
	// want a query.
	never = netip.AddrFrom4([4]byte{127, 0, 0, 1})
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Codes) UnmarshalText(text []byte) error {
	parsed, err := parseCodes(string(text))
	if err != nil {
		return err
	}
	if err := parsed.check(); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	*c = parsed
	return nil
}

func parseCodes(text string) (c Codes, err error) {
	want := errors.New("want a code, a range or a network such as 127.0.0.2, 127.0.0.2-127.0.0.11 or 127.0.0.0/8")
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil || !p.Addr().Is4():
			return c, want
		case p != p.Masked():
			return c, fmt.Errorf("%q has bits set behind the network part; did you mean %q?", text, p.Masked())
		}
		last := p.Addr().As4()
		for bit := p.Bits(); bit < 32; bit++ {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		return Codes{p.Addr(), netip.AddrFrom4(last)}, nil
	}
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	for i, s := range []string{first, last} {
		if c[i], err = netip.ParseAddr(strings.TrimSpace(s)); err != nil || !c[i].Is4() {
			return Codes{}, want
		}
	}
	return c, nil
}

// check finds ranges that no listing can be in.
func (c Codes) check() error {
	first, last := c[0], c[1]
	switch {
	case !first.IsValid() || !last.IsValid():
		return errors.New("no code at all")
	case last.Less(first):
		return errors.New("the range ends before it begins")
	case !loopback.Contains(first) || !loopback.Contains(last):
		return errors.New("the codes of lists lie in 127.0.0.0/8")
	case refusals.Contains(first):
		return errors.New("127.255.255.0/24 is for errors, never a listing")
	case first == never:
		return errors.New("127.0.0.1 is never a listing, some lists refuse queries with it; begin with 127.0.0.2")
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (c Codes) MarshalText() ([]byte, error) {
	switch {
	case !c[0].IsValid():
		return nil, nil
	case c[0] == c[1]:
		return []byte(c[0].String()), nil
	default:
		return []byte(c[0].String() + "-" + c[1].String()), nil
	}
}

// contains never has what lists refuse queries with, so that 127.0.0.0/8 can stand for all that is a listing.
func (c Codes) contains(a netip.Addr) bool {
	return a != never && c[0].Compare(a) <= 0 && a.Compare(c[1]) <= 0
}

// reading is what the A records of an answer mean.
type reading struct {
	codes []netip.Addr // every return code, sorted
	ours  []netip.Addr // those among them that are a listing for the operator
	fault string       // why the answer is not one of a list; codes and ours are empty then
}

// read tells what an answer means. An answer with one record that no list gives to say "listed" is no answer of a list at all.
func read(a checks.Answer, listing []Codes) reading {
	var r reading
	for _, code := range checks.Addresses(a) {
		switch {
		case refusals.Contains(code):
			return reading{fault: fmt.Sprintf("it refuses to answer, with the error code %s%s", code, meaning(code))}
		case !loopback.Contains(code):
			return reading{fault: fmt.Sprintf("it answers with %s, which is no code of a list: its domain has a new owner, or a resolver invents answers", code)}
		}
		r.codes = append(r.codes, code)
		if slices.ContainsFunc(listing, func(c Codes) bool { return c.contains(code) }) {
			r.ours = append(r.ours, code)
		}
	}
	// The DNS gives them in any order.
	for _, list := range [][]netip.Addr{r.codes, r.ours} {
		slices.SortFunc(list, netip.Addr.Compare)
	}
	return r
}

// listed is the codes of a listing as text, empty if it is none.
func (r reading) listed() string {
	var out []string
	for _, code := range r.ours {
		out = append(out, code.String())
	}
	return strings.Join(out, ", ")
}

// meaning says what the error codes mean that Spamhaus began with and others took over.
func meaning(code netip.Addr) string {
	switch code.As4()[3] {
	case 252:
		return " (the name of the zone is misspelled)"
	case 254:
		return " (asked through a public resolver: run one of your own)"
	case 255:
		return " (too many queries)"
	default:
		return ""
	}
}
