package spf

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// record is a well-formed SPF record.
type record struct {
	directives []directive
	redirect   string // domain-spec, section 6.1; empty: none
	exp        string // domain-spec, section 6.2; empty: none
}

// directive is a directive of a record, section 4.6.1.
type directive struct {
	text      string // as published: "~include:_spf.example.net"
	result    Result
	mechanism mechanism
	spec      string       // domain-spec; empty: the domain of the record
	network   netip.Prefix // of ip4 and ip6
	bits4     int          // prefix length of a and mx for IPv4
	bits6     int          // prefix length of a and mx for IPv6
}

// mechanism is the name of a mechanism, section 5.
type mechanism string

const (
	mechAll     mechanism = "all"
	mechInclude mechanism = "include"
	mechA       mechanism = "a"
	mechMX      mechanism = "mx"
	mechPTR     mechanism = "ptr"
	mechIP4     mechanism = "ip4"
	mechIP6     mechanism = "ip6"
	mechExists  mechanism = "exists"
)

// bits returns the prefix length of a or mx for the client's family.
func (d directive) bits(client netip.Addr) int {
	if client.Is4() {
		return d.bits4
	}
	return d.bits6
}

// onlyMinusAll reports whether a record is "v=spf1 -all", with or without modifiers.
func (r record) onlyMinusAll() bool {
	return len(r.directives) == 1 && r.directives[0].mechanism == mechAll && r.directives[0].result == Fail
}

const version = "v=spf1"

// maxDirectives is the number of directives of a record. With half of it, the list of a large sender's addresses could be too long. A
// hostile record has 32,000, and 11 such records would take 40 MiB during an evaluation.
const maxDirectives = 1000

// isRecord reports whether the value of a TXT record is an SPF record, section 4.5.
func isRecord(txt string) bool {
	return len(txt) >= len(version) && strings.EqualFold(txt[:len(version)], version) &&
		(len(txt) == len(version) || txt[len(version)] == ' ')
}

// parseRecord parses a value for which isRecord is true. Section 4.6: a syntax error anywhere is found before any directive
// is evaluated. The error names the term as published.
func parseRecord(txt string) (record, error) {
	rest := txt[len(version):]
	r := record{directives: make([]directive, 0, min(strings.Count(rest, " "), maxDirectives))}
	for text := range strings.SplitSeq(rest, " ") {
		if text == "" {
			continue
		}
		if err := r.parseTerm(text); err != nil {
			return record{}, fmt.Errorf("%q: %w", text, err)
		}
		if len(r.directives) > maxDirectives {
			return record{}, fmt.Errorf("over %d directives", maxDirectives)
		}
	}
	return r, nil
}

func (r *record) parseTerm(text string) error {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return errors.New("characters outside printable US-ASCII")
		}
	}
	name, value, found := strings.Cut(text, "=")
	if !found || !isModifierName(name) {
		d, err := parseDirective(text)
		r.directives = append(r.directives, d)
		return err
	}
	var modifier *string
	switch strings.ToLower(name) {
	case "redirect":
		modifier = &r.redirect
	case "exp":
		modifier = &r.exp
	default:
		_, err := checkMacros(value, textLetters)
		return err
	}
	if *modifier != "" {
		return errors.New("occurs twice")
	}
	*modifier = value
	return checkDomainSpec(value)
}

// isModifierName reports whether s is ALPHA *( ALPHA / DIGIT / "-" / "_" / "." ), section 12.
func isModifierName(s string) bool {
	return s != "" && strings.Trim(s[:1], alpha) == "" && strings.Trim(s, alpha+digit+"-_.") == ""
}

// parseDirective parses [ qualifier ] mechanism.
func parseDirective(text string) (directive, error) {
	d := directive{text: text, result: Pass, bits4: 32, bits6: 128}
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
	d.mechanism = mechanism(strings.ToLower(body[:end]))
	err := d.parseArgument(body[end:])
	return d, err
}

// parseArgument parses the argument of the mechanism, which includes the colon or slash before it.
func (d *directive) parseArgument(arg string) error {
	switch d.mechanism {
	case mechAll:
		if arg != "" {
			return errors.New("all takes no argument")
		}
		return nil
	case mechInclude, mechExists:
		return d.parseDomain(arg, true)
	case mechPTR:
		return d.parseDomain(arg, false)
	case mechA, mechMX:
		return d.parseDomainAndBits(arg)
	case mechIP4, mechIP6:
		return d.parseNetwork(arg)
	default:
		return errors.New("no such mechanism")
	}
}

// parseDomain parses ":" domain-spec.
func (d *directive) parseDomain(arg string, required bool) error {
	if arg == "" && !required {
		return nil
	}
	spec, ok := strings.CutPrefix(arg, ":")
	if !ok {
		return errors.New("a domain must follow, after a colon")
	}
	d.spec = spec
	return checkDomainSpec(spec)
}

// parseDomainAndBits parses [ ":" domain-spec ] [ dual-cidr-length ], section 5.3. The prefix lengths are cut off the end, as
// a domain-spec may have slashes too.
func (d *directive) parseDomainAndBits(arg string) error {
	arg, err := cutBits(arg, "//", &d.bits6)
	if err != nil {
		return err
	}
	if arg, err = cutBits(arg, "/", &d.bits4); err != nil {
		return err
	}
	return d.parseDomain(arg, false)
}

// cutBits cuts a prefix length off the end of an argument, if there is one. bits holds the greatest length allowed.
func cutBits(arg, slash string, bits *int) (string, error) {
	i := strings.LastIndex(arg, slash)
	if i < 0 {
		return arg, nil
	}
	digits := arg[i+len(slash):]
	if digits == "" || strings.Trim(digits, digit) != "" {
		return arg, nil
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n > *bits || digits[0] == '0' && len(digits) > 1 {
		return "", fmt.Errorf("%s%s is no prefix length from 0 to %d", slash, digits, *bits)
	}
	*bits = n
	return arg[:i], nil
}

// parseNetwork parses ":" and an address or network, section 5.6.
func (d *directive) parseNetwork(arg string) error {
	text := strings.TrimPrefix(arg, ":")
	p, err := netip.ParsePrefix(text)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(text); err == nil && a.Zone() == "" {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	is4 := d.mechanism == mechIP4
	switch {
	case p.IsValid() && p.Addr().Is4() == is4 && strings.HasPrefix(arg, ":"):
		d.network = p
		return nil
	case is4:
		return errors.New("no IPv4 address or network")
	default:
		return errors.New("no IPv6 address or network")
	}
}

// checkDomainSpec returns an error if s is no domain-spec, section 7.1: a macro-string that ends with a macro, or with a dot
// and a top label.
func checkDomainSpec(s string) error {
	if s == "" {
		return errors.New("the domain is missing")
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return errors.New("an address instead of a domain; use ip4 or ip6")
	}
	tail, err := checkMacros(s, nameLetters)
	if err != nil || tail == 0 {
		return err
	}
	end := strings.TrimSuffix(s[len(s)-tail:], ".")
	dot := strings.LastIndexByte(end, '.')
	if dot < 0 {
		return errors.New("the domain has only one label")
	}
	if !isTopLabel(end[dot+1:]) {
		return errors.New("the last label of the domain is not valid")
	}
	return nil
}

// isTopLabel reports whether s is a toplabel: letters, digits and inner hyphens, and not only digits.
func isTopLabel(s string) bool {
	return strings.Trim(s, alpha+digit+"-") == "" && strings.Trim(s, digit) != "" && strings.Trim(s, "-") == s
}

// Characters, RFC 5234 appendix B.1.
const (
	alpha = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digit = "0123456789"
)
