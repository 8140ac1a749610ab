package spf

import (
	"errors"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

// target expands a domain-spec, RFC 7208 section 7.3: what is longer than a domain name can be is cut from the left.
func (e *spfEval) target(spec, domain string) (string, *spfError) {
	name, err := expandSPF(spec, spfNameLetters, spfMaxExpansion, func(letter byte) string { return e.value(letter, domain) })
	if err != nil {
		return "", spfPermanent("in the record of %s: %q: %v", domain, spec, err)
	}
	name = strings.TrimSuffix(name, ".")
	for len(name) > spfMaxName {
		_, rest, more := strings.Cut(name, ".")
		if !more {
			break
		}
		name = rest
	}
	return name, nil
}

// value is what a macro letter stands for, RFC 7208 section 7.2.
func (e *spfEval) value(letter byte, domain string) string {
	if letter != 'p' {
		return e.who.value(letter, domain)
	}
	best := ""
	name, _ := spfDNSName(domain)
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
	return spfUnescape(best)
}

// explain returns the explanation of a fail, RFC 7208 section 6.2. Whatever goes wrong means that there is none.
func (e *spfEval) explain(f spfFinding) string {
	target, err := e.target(f.exp, f.by)
	if err != nil {
		return ""
	}
	name, ok := spfDNSName(target)
	if !ok {
		return ""
	}
	a, err := e.ask(name, dns.TypeTXT)
	if err != nil {
		return ""
	}
	txts := checks.RecordsOf[*dns.TXT](a)
	if len(txts) != 1 {
		return ""
	}
	return e.explanation(spfText(txts[0]), f.by)
}

// explanation expands an explain-string and makes it safe to show. What macros put in may have any octets.
func (e *spfEval) explanation(text, domain string) string {
	for i := range len(text) {
		if text[i] >= 0x80 { // RFC 7208 section 6.2: US-ASCII alone
			return ""
		}
	}
	if _, err := checkSPFMacros(text, spfTextLetters); err != nil {
		return ""
	}
	text, err := expandSPF(text, spfTextLetters, spfMaxExplanation, func(letter byte) string { return e.value(letter, domain) })
	if err != nil && !errors.Is(err, errSPFTooLong) {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}
