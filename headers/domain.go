package headers

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lengths in octets.
const (
	maxDomain = 255 // RFC 5321 section 4.5.3.1.2
	maxLabel  = 63  // RFC 1035 section 2.3.4

	// maxULabel is the most characters of a U-label: its A-label is "xn--" and at least one octet for each of them
	// (RFC 5890 section 2.3.2.1).
	maxULabel = maxLabel - len("xn--")
)

// CheckDomain returns a *SyntaxError if s is not a domain name of RFC 5321 section 4.1.2: labels of letters, digits and "-"
// that begin and end with a letter or digit, at most 63 octets each and 255 together. One dot at the end is ignored. The
// only lax fault is "_" in place of a letter, which Windows hosts have.
//
// A single label is a domain name, and so is "192.0.2.1", which fits the grammar: a caller that has to tell addresses apart
// must look for them first. Only US-ASCII is accepted: a HELO argument has A-labels, because the client sends EHLO before it
// knows whether the server supports SMTPUTF8 (RFC 6531 section 3.7.1).
func CheckDomain(s string) error {
	p := scanner{s: s}
	if len(s) > 1 {
		p.s = strings.TrimSuffix(s, ".")
	}
	p.domainName(len(p.s), false)
	return p.err()
}

// domainName parses the domain name between the position and limit, an index into p.s. withUTF8 permits U-labels (RFC 6531
// section 3.3).
func (p *scanner) domainName(limit int, withUTF8 bool) {
	start := p.pos
	switch {
	case limit == start:
		p.fail(start, "the domain is empty")
		return
	case limit-start > maxDomain:
		p.fail(start+maxDomain, "domain of %d octets; at most %d are allowed", limit-start, maxDomain)
		return
	}
	for label := range strings.SplitSeq(p.s[start:limit], ".") {
		p.label(label, withUTF8)
		if p.fault != nil {
			return
		}
		p.pos++ // the dot
	}
	p.pos = limit
}

// label parses a label, which is at the position.
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

// isULabel reports whether c may be in a U-label. It accepts all of Unicode but white space and control characters: the
// rules of IDNA need its tables and are applied before a DNS lookup.
func isULabel(c rune) bool {
	return c >= utf8.RuneSelf && !unicode.IsSpace(c) && !unicode.IsControl(c)
}

// ParseLiteral parses an address literal, RFC 5321 section 4.1.3: "[192.0.2.1]" or "[IPv6:2001:db8::1]". The tag is
// required and case-insensitive; IPv6 is the only registered one. An IPv4-mapped IPv6 address is returned as IPv4, so
// it can be compared with the client's address. The error is a *SyntaxError, never Lax.
func ParseLiteral(s string) (netip.Addr, error) {
	p := scanner{s: s}
	addr := p.addressLiteral()
	return addr, p.err()
}

// addressLiteral parses the rest of the text as an address literal.
func (p *scanner) addressLiteral() (addr netip.Addr) {
	if p.peek() != '[' {
		p.unexpected("the opening [")
		return addr
	}
	start := p.pos + 1
	if p.s[len(p.s)-1] != ']' {
		p.fail(len(p.s), "the closing ] is missing")
		return addr
	}
	text := p.s[start : len(p.s)-1]
	tag, rest, tagged := strings.Cut(text, ":")
	if !tagged {
		return p.ipv4(start, text)
	}
	if strings.EqualFold(tag, "IPv6") {
		addr, ok := ipv6(rest)
		if !ok {
			p.fail(start+len("IPv6:"), "%s is not an IPv6 address", quote(rest))
		}
		return addr
	}
	if _, untagged := ipv6(text); untagged {
		p.fail(start, "IPv6: is missing before the address")
	}
	p.fail(start, "%s is not a tag of an address literal; the only one is IPv6", quote(tag))
	return addr
}

// ipv6 parses an IPv6 address without a zone.
func ipv6(s string) (addr netip.Addr, ok bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// ipv4 parses text, which is at pos. Unlike netip.ParseAddr it accepts leading zeros, which RFC 5321 section 4.1.3 permits
// (Snum).
func (p *scanner) ipv4(pos int, text string) netip.Addr {
	var octets [4]byte
	rest := text
	for i := range octets {
		snum, after, more := strings.Cut(rest, ".")
		octet, err := strconv.ParseUint(snum, 10, 8)
		if more != (i < 3) || err != nil || len(snum) > 3 {
			p.fail(pos, "%s is not an IPv4 address", quote(text))
			return netip.Addr{}
		}
		octets[i], rest = byte(octet), after
	}
	return netip.AddrFrom4(octets)
}
