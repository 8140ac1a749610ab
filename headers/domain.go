package headers

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lengths in octets.
const (
	maxDomain = 255 // RFC 5321 section 4.5.3.1.2
	maxLabel  = 63  // RFC 1035 section 2.3.4

	// maxULabel is the most characters a U-label can have, as its A-label is "xn--" and at least one octet for each
	// (RFC 5890 section 2.3.2.1).
	maxULabel = maxLabel - len("xn--")
)

// CheckDomain returns a *SyntaxError if s is no domain name by RFC 5321 section 4.1.2: labels of letters, digits and "-"
// that begin and end with a letter or digit, at most 63 octets each and 255 together. One dot at the end is ignored. The
// fault is Lax if the only one is "_", which counts as a letter then: Windows hosts are known for it.
//
// A single label passes, and so does "192.0.2.1": it fits the grammar, so look for addresses before. Only US-ASCII passes:
// a HELO argument has A-labels, as the client sends EHLO before it knows of SMTPUTF8 (RFC 6531 section 3.7.1).
func CheckDomain(s string) error {
	p := scanner{s: s}
	if len(s) > 1 {
		p.s = strings.TrimSuffix(s, ".")
	}
	p.domainName(len(p.s), false)
	return p.err()
}

// domainName takes a domain name that ends at limit, an index into p.s. withUTF8 lets U-labels in (RFC 6531 section 3.3).
func (p *scanner) domainName(limit int, withUTF8 bool) {
	start := p.pos
	switch {
	case limit == start:
		p.fail(start, "the domain is empty")
		return
	case limit-start > maxDomain:
		p.fail(start+maxDomain, "domain of %d octets, %d is the most", limit-start, maxDomain)
		return
	}
	for {
		length := strings.IndexByte(p.s[p.pos:limit], '.')
		if length < 0 {
			p.label(p.s[p.pos:limit], withUTF8)
			return
		}
		p.label(p.s[p.pos:p.pos+length], withUTF8)
		if p.fault != nil {
			return
		}
		p.pos++ // the dot
	}
}

// label takes the label that stands at the position.
func (p *scanner) label(label string, withUTF8 bool) {
	start := p.pos
	if label == "" {
		p.fail(start, "stray dot in the domain")
		return
	}
	characters := 0
	for i, c := range label {
		characters++
		edge := i == 0 || i == len(label)-1
		switch {
		case c < utf8.RuneSelf && (isLetter(byte(c)) || isDigit(byte(c))), c == '-' && !edge:
		case c == '_':
			p.warn(start+i, "_ is not allowed in a domain")
		case c == '-':
			p.fail(start+i, "label %s begins or ends with -", quote(label))
		case withUTF8 && isULabel(c) && (c != utf8.RuneError || utf8.ValidString(label)):
		default:
			p.fail(start+i, "%s is not allowed in a domain", quoteAt(label, i))
		}
	}
	limit := maxLabel
	if characters < len(label) {
		limit = maxULabel
	}
	if characters > limit {
		p.fail(start, "label %s has over %d characters", quote(label), limit)
	}
	if p.fault == nil {
		p.pos = start + len(label)
	}
}

// isULabel reports whether c may be in a U-label. It lets all of Unicode through that is neither white space nor control:
// IDNA's own rules need its tables and belong to whoever asks the DNS.
func isULabel(c rune) bool {
	return c >= utf8.RuneSelf && !unicode.IsSpace(c) && !unicode.IsControl(c)
}

// ParseLiteral parses an address literal, RFC 5321 section 4.1.3: "[192.0.2.1]" or "[IPv6:2001:db8::1]", the tag in any
// case. An IPv4-mapped IPv6 address is given as the IPv4 address it is, so that the result compares with a client's. The
// error is a *SyntaxError.
//
// It is Lax, and the address is given, for "[2001:db8::1]" without the tag. Every other General-address-literal is an
// error: its tag must be registered, and none is but IPv6.
func ParseLiteral(s string) (netip.Addr, error) {
	p := scanner{s: s}
	addr, untagged := p.addressLiteral()
	if untagged {
		p.warn(len("["), untaggedCause)
	}
	return addr, p.err()
}

const untaggedCause = "IPv6: is missing before the address"

// addressLiteral takes the rest of the text as an address literal. untagged tells that it is an IPv6 address without the
// tag.
func (p *scanner) addressLiteral() (addr netip.Addr, untagged bool) {
	if p.peek() != '[' {
		p.unexpected("the opening [")
		return addr, false
	}
	start := p.pos + 1
	if p.s[len(p.s)-1] != ']' {
		p.fail(len(p.s), "the closing ] is missing")
		return addr, false
	}
	text := p.s[start : len(p.s)-1]
	tag, rest, tagged := strings.Cut(text, ":")
	if !tagged {
		return p.ipv4(start, text), false
	}
	if strings.EqualFold(tag, "IPv6") {
		addr, ok := ipv6(rest)
		if !ok {
			p.fail(start+len("IPv6:"), "%s is no IPv6 address", quote(rest))
		}
		return addr, false
	}
	addr, untagged = ipv6(text)
	if !untagged {
		p.fail(start, "%s is no tag of an address literal, only IPv6 is", quote(tag))
	}
	return addr, untagged
}

// ipv6 parses an IPv6 address without zone; ok is false if s is none.
func ipv6(s string) (addr netip.Addr, ok bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// ipv4 parses text, which stands at pos. Unlike netip.ParseAddr it takes leading zeros: Snum is "1*3DIGIT representing a
// decimal integer" in RFC 5321 section 4.1.3.
func (p *scanner) ipv4(pos int, text string) netip.Addr {
	var octets [4]byte
	rest := text
	for i := range octets {
		snum, after, more := strings.Cut(rest, ".")
		if more != (i < 3) || !isSnum(snum) {
			p.fail(pos, "%s is no IPv4 address", quote(text))
			return netip.Addr{}
		}
		octets[i], rest = byte(atoi(snum)), after
	}
	return netip.AddrFrom4(octets)
}

// isSnum reports whether s is a decimal number of one to three digits up to 255.
func isSnum(s string) bool {
	if len(s) < 1 || len(s) > 3 {
		return false
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return atoi(s) <= 255
}
