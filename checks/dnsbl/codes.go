package dnsbl

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"milterd/checks"
)

// Codes is a range of return codes (RFC 5782 section 2.1). In the configuration it is an address, two addresses separated by a
// hyphen, or a network: "127.0.0.2", "127.0.0.2-127.0.0.11", "127.0.0.0/8".
type Codes struct{ First, Last netip.Addr }

var (
	// loopback contains every code, RFC 5782 section 2.1. An address outside of it comes from a new owner of the zone's domain,
	// or from a resolver that redirects unknown names to a search page.
	loopback = netip.MustParsePrefix("127.0.0.0/8")
	// errorCodes are the answers by which lists refuse a query.
	errorCodes = netip.MustParsePrefix("127.255.255.0/24")
	// notListed is never a listing: RFC 5782 section 2.1 advises against it, and URIBL and SURBL refuse queries with it.
	notListed = netip.AddrFrom4([4]byte{127, 0, 0, 1})
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

// MarshalText implements encoding.TextMarshaler.
func (c Codes) MarshalText() ([]byte, error) {
	if c.First == c.Last {
		return []byte(c.First.String()), nil
	}
	return []byte(c.First.String() + "-" + c.Last.String()), nil
}

func parseCodes(text string) (Codes, error) {
	want := errors.New("want a code, a range or a network such as 127.0.0.2, 127.0.0.2-127.0.0.11 or 127.0.0.0/8")
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil || !p.Addr().Is4():
			return Codes{}, want
		case p != p.Masked():
			return Codes{}, fmt.Errorf("%q has bits set after the network part; did you mean %q?", text, p.Masked())
		}
		last := p.Addr().As4()
		for bit := p.Bits(); bit < 32; bit++ {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		return Codes{First: p.Addr(), Last: netip.AddrFrom4(last)}, nil
	}
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, _ := netip.ParseAddr(strings.TrimSpace(from))
	last, _ := netip.ParseAddr(strings.TrimSpace(to))
	if !first.Is4() || !last.Is4() {
		return Codes{}, want
	}
	return Codes{First: first, Last: last}, nil
}

// check returns an error for a range that no listing can be in.
func (c Codes) check() error {
	switch {
	case c.Last.Less(c.First):
		return errors.New("the range ends before it begins")
	case !loopback.Contains(c.First) || !loopback.Contains(c.Last):
		return errors.New("codes are in 127.0.0.0/8")
	case errorCodes.Contains(c.First):
		return errors.New("127.255.255.0/24 is for errors, never a listing")
	case c.First == notListed:
		return errors.New("127.0.0.1 is never a listing, as some lists refuse queries with it; begin with 127.0.0.2")
	}
	return nil
}

// contains reports whether a code is a listing. notListed never is, so 127.0.0.0/8 can stand for all codes.
func (c Codes) contains(code netip.Addr) bool {
	return code != notListed && c.First.Compare(code) <= 0 && code.Compare(c.Last) <= 0
}

// reading is the meaning of the A records of an answer.
type reading struct {
	codes   bool   // there are codes, of a listing or not
	listing string // the codes of a listing, sorted and separated by commas; empty if there are none
	fault   string // a sentence about "it", if no list gives such an answer; there are no codes then
}

// read returns the meaning of an answer. One record that no list would return makes the answer a fault.
func read(a checks.Answer, listings []Codes) reading {
	codes := checks.Addresses(a)
	for _, code := range codes {
		switch {
		case errorCodes.Contains(code):
			return reading{fault: fmt.Sprintf("it refuses to answer, with the error code %s%s", code, errorMeaning(code))}
		case !loopback.Contains(code):
			return reading{fault: fmt.Sprintf("it answers with %s, which is no code of a list: its domain has a new owner, or a resolver invents answers", code)}
		}
	}
	slices.SortFunc(codes, netip.Addr.Compare) // the DNS returns records in any order
	var listed []string
	for _, code := range codes {
		if slices.ContainsFunc(listings, func(c Codes) bool { return c.contains(code) }) {
			listed = append(listed, code.String())
		}
	}
	return reading{codes: len(codes) > 0, listing: strings.Join(listed, ", ")}
}

// errorMeaning returns the meaning of an error code. Spamhaus defined them, and other lists use them too.
func errorMeaning(code netip.Addr) string {
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
