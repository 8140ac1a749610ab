package spf

import (
	"cmp"
	"encoding/hex"
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/headers"
)

// Lengths in bytes.
const (
	// maxExpansion is the length of an expanded domain-spec before it is cut to maxName. Real records do not come near it.
	maxExpansion   = 8192
	maxExplanation = 400 // leaves room for the rest of the reply, RFC 5321 section 4.5.3.1.5
)

// target expands a domain-spec in the record of a domain, which is the target of a term without one. Section 7.3: labels are removed
// from the left until the name is short enough.
func (e *evaluator) target(spec, domain string) (string, *resultError) {
	if spec == "" {
		return domain, nil
	}
	name, err := expand(spec, maxExpansion, func(letter byte) string { return e.value(letter, domain) })
	if err != nil {
		return "", permError("in the record of %s: %q: %v", domain, spec, err)
	}
	name = strings.TrimSuffix(name, ".")
	for len(name) > maxName {
		_, rest, more := strings.Cut(name, ".")
		if !more {
			break
		}
		name = rest
	}
	return name, nil
}

// explain returns the explanation of a fail, section 6.2. It is empty if there is none, or any error occurs.
func (e *evaluator) explain(d decision) string {
	if d.exp == "" {
		return ""
	}
	target, _ := e.target(d.exp, d.by) // empty after an error, and so no name
	name, ok := dnsName(target)
	if !ok {
		return ""
	}
	a, _ := e.ask(name, dns.TypeTXT) // after an error without texts
	texts := checks.Texts(a)
	if len(texts) != 1 {
		return ""
	}
	return e.explanation(texts[0], d.by)
}

// explanation expands an explain-string. Bytes from macros that are not printable become question marks.
func (e *evaluator) explanation(text, domain string) string {
	if _, err := checkMacros(text, textLetters); err != nil || !headers.IsASCII(text) { // section 6.2 requires US-ASCII
		return ""
	}
	text, err := expand(text, maxExplanation, func(letter byte) string { return e.value(letter, domain) })
	if err != nil && !errors.Is(err, errTooLong) {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

// value returns the value of a macro letter, section 7.2. domain is the one whose record has the macro.
func (e *evaluator) value(letter byte, domain string) string {
	s := e.subject
	local := cmp.Or(s.Local, "postmaster")
	switch letter {
	case 's':
		return local + "@" + s.Domain
	case 'l':
		return local
	case 'o':
		return s.Domain
	case 'd':
		return domain
	case 'i':
		return dotted(s.Client)
	case 'c':
		return s.Client.String()
	case 'v':
		if s.Client.Is4() {
			return "in-addr"
		}
		return "ip6"
	case 'h':
		return s.Helo
	case 'p':
		return e.nameValue(domain)
	case 'r':
		return cmp.Or(s.Receiver, "unknown")
	case 't':
		return strconv.FormatInt(s.Time.Unix(), 10)
	default:
		return "unknown"
	}
}

// nameValue returns the value of %{p}: a validated name of the client, preferably the domain or a name under it.
func (e *evaluator) nameValue(domain string) string {
	best := ""
	name, _ := dnsName(domain)
	for _, n := range e.validatedNames() {
		switch {
		case checks.SameName(n, name):
			return domain
		case best == "", checks.Under(n, name) && !checks.Under(best, name):
			best = n
		}
	}
	if best == "" {
		return "unknown"
	}
	return checks.Unescape(best)
}

// dotted returns the value of %{i}. An IPv6 address is written as 32 hexadecimal digits with dots between them.
func dotted(client netip.Addr) string {
	if client.Is4() {
		return client.String()
	}
	addr := client.As16()
	nibbles := strings.Split(strings.ToUpper(hex.EncodeToString(addr[:])), "")
	return strings.Join(nibbles, ".")
}
