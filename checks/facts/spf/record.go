package spf

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// spfMechanism is the name of a mechanism, RFC 7208 section 5.
type spfMechanism uint8

const (
	spfAll spfMechanism = iota
	spfInclude
	spfA
	spfMX
	spfPTR
	spfIP // ip4 and ip6
	spfExists
)

// spfDirective is one directive of a record, RFC 7208 section 4.6.1.
type spfDirective struct {
	text      string // as published: "~include:_spf.example.net"
	result    Result
	mechanism spfMechanism
	spec      string       // domain-spec with its macros; empty: the domain whose record this is
	network   netip.Prefix // of ip4 and ip6
	bits4     int          // prefix lengths of a and mx
	bits6     int
}

// bits is how many leading bits of an address count for a or mx.
func (d spfDirective) bits(client netip.Addr) int {
	if client.Is4() {
		return d.bits4
	}
	return d.bits6
}

// spfRecord is a well-formed SPF record.
type spfRecord struct {
	directives []spfDirective
	redirect   string // domain-spec, RFC 7208 section 6.1; empty: none
	exp        string // domain-spec, RFC 7208 section 6.2; empty: none
}

// onlyMinusAll tells whether the record is "v=spf1 -all", whatever modifiers it has beside.
func (r spfRecord) onlyMinusAll() bool {
	return len(r.directives) == 1 && r.directives[0].mechanism == spfAll && r.directives[0].result == Fail
}

// isSPF tells whether a TXT record is an SPF record, RFC 7208 section 4.5.
func isSPF(txt string) bool {
	const version = "v=spf1"
	return len(txt) >= len(version) && strings.EqualFold(txt[:len(version)], version) &&
		(len(txt) == len(version) || txt[len(version)] == ' ')
}

// parseSPF reads the record that isSPF knows. RFC 7208 section 4.6 wants syntax errors anywhere in it to be found before
// anything is evaluated. The error names the term, as published.
func parseSPF(txt string) (spfRecord, error) {
	var r spfRecord
	rest := txt[len("v=spf1"):]
	r.directives = make([]spfDirective, 0, strings.Count(rest, " "))
	for rest != "" {
		var text string
		text, rest, _ = strings.Cut(rest, " ")
		if text == "" {
			continue
		}
		if err := r.term(text); err != nil {
			return spfRecord{}, fmt.Errorf("%q: %w", text, err)
		}
	}
	return r, nil
}

func (r *spfRecord) term(text string) error {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return errors.New("characters outside printable US-ASCII")
		}
	}
	name := spfModifierName(text)
	if name == "" {
		d, err := parseSPFDirective(text)
		r.directives = append(r.directives, d)
		return err
	}
	value := text[len(name)+1:]
	var known *string
	switch strings.ToLower(name) {
	case "redirect":
		known = &r.redirect
	case "exp":
		known = &r.exp
	default:
		_, err := checkSPFMacros(value, spfTextLetters)
		return err
	}
	if *known != "" {
		return errors.New("stands twice")
	}
	*known = value
	return checkSPFDomain(value)
}

// spfModifierName returns the name if the term is a modifier: ALPHA *( ALPHA / DIGIT / "-" / "_" / "." ) "=".
func spfModifierName(text string) string {
	for i := range len(text) {
		switch c := text[i]; {
		case isSPFAlpha(c):
		case i > 0 && (isSPFDigit(c) || c == '-' || c == '_' || c == '.'):
		case i > 0 && c == '=':
			return text[:i]
		default:
			return ""
		}
	}
	return ""
}

// parseSPFDirective reads [ qualifier ] mechanism.
func parseSPFDirective(text string) (spfDirective, error) {
	d := spfDirective{text: text, result: Pass, bits4: 32, bits6: 128}
	body := text[1:]
	switch text[0] {
	case '+':
	case '-':
		d.result = Fail
	case '~':
		d.result = SoftFail
	case '?':
		d.result = Neutral
	default:
		body = text
	}
	end := strings.IndexAny(body, ":/")
	if end < 0 {
		end = len(body)
	}
	name, arg := body[:end], body[end:]
	var err error
	switch strings.ToLower(name) {
	case "all":
		d.mechanism = spfAll
		if arg != "" {
			err = errors.New("all takes nothing")
		}
	case "include":
		d.mechanism, err = spfInclude, d.domain(arg, true)
	case "exists":
		d.mechanism, err = spfExists, d.domain(arg, true)
	case "ptr":
		d.mechanism, err = spfPTR, d.domain(arg, false)
	case "a":
		d.mechanism, err = spfA, d.domainAndBits(arg)
	case "mx":
		d.mechanism, err = spfMX, d.domainAndBits(arg)
	case "ip4", "ip6":
		d.mechanism, err = spfIP, d.address(arg, name[2] == '4')
	default:
		err = errors.New("no such mechanism")
	}
	return d, err
}

// domain takes ":" domain-spec.
func (d *spfDirective) domain(arg string, needed bool) error {
	if arg == "" && !needed {
		return nil
	}
	spec, ok := strings.CutPrefix(arg, ":")
	if !ok {
		return errors.New("a domain must follow, after a colon")
	}
	d.spec = spec
	return checkSPFDomain(spec)
}

// domainAndBits takes [ ":" domain-spec ] [ dual-cidr-length ], RFC 7208 section 5.3. As a domain-spec may have slashes
// too, the lengths are taken off its end.
func (d *spfDirective) domainAndBits(arg string) error {
	arg, err := cutSPFBits(arg, "//", &d.bits6)
	if err != nil {
		return err
	}
	if arg, err = cutSPFBits(arg, "/", &d.bits4); err != nil {
		return err
	}
	return d.domain(arg, false)
}

// cutSPFBits cuts a prefix length off the end of arg, if there is one. bits holds the longest.
func cutSPFBits(arg, slash string, bits *int) (string, error) {
	i := strings.LastIndex(arg, slash)
	if i < 0 {
		return arg, nil
	}
	digits := arg[i+len(slash):]
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return arg, nil
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n > *bits || digits[0] == '0' && len(digits) > 1 {
		return "", fmt.Errorf("%s%s is no prefix length from 0 to %d", slash, digits, *bits)
	}
	*bits = n
	return arg[:i], nil
}

// address takes ":" and an address or network, RFC 7208 section 5.6.
func (d *spfDirective) address(arg string, four bool) error {
	family := "IPv6"
	if four {
		family = "IPv4"
	}
	text := strings.TrimPrefix(arg, ":")
	p, err := netip.ParsePrefix(text)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(text); err == nil && a.Zone() == "" {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	if !p.IsValid() || p.Addr().Is4() != four || !strings.HasPrefix(arg, ":") {
		return fmt.Errorf("no %s address or network", family)
	}
	d.network = p
	return nil
}

// checkSPFDomain tells whether s is a domain-spec: a macro-string that ends with a macro or with a dot and a top label,
// RFC 7208 section 7.1.
func checkSPFDomain(s string) error {
	if s == "" {
		return errors.New("the domain is missing")
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return errors.New("an address stands where a domain must; ip4: and ip6: take addresses")
	}
	inEnd, err := checkSPFMacros(s, spfNameLetters)
	if err != nil || inEnd == 0 {
		return err
	}
	tail := strings.TrimSuffix(s[len(s)-inEnd:], ".")
	dot := strings.LastIndexByte(tail, '.')
	if dot < 0 {
		return errors.New("the domain has one label alone")
	}
	if !isSPFTopLabel(tail[dot+1:]) {
		return errors.New("no domain name ends like this")
	}
	return nil
}

// isSPFTopLabel tells whether s is a toplabel: letters, digits and inner hyphens, and not digits alone.
func isSPFTopLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	numeric := true
	for i := range len(s) {
		switch c := s[i]; {
		case isSPFDigit(c):
		case c == '-' || isSPFAlpha(c):
			numeric = false
		default:
			return false
		}
	}
	return !numeric
}
