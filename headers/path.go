package headers

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// Lengths in octets.
const (
	maxLocal = 64  // RFC 5321 section 4.5.3.1.1
	maxPath  = 256 // RFC 5321 section 4.5.3.1.3, with the angle brackets
)

// Path is a reverse-path without its source route, which RFC 5321 appendix C has receivers ignore. The zero value is the
// null reverse-path. Paths can be compared with ==.
type Path struct {
	// Local is the local part without quotes. It is case-sensitive (RFC 5321 section 2.4).
	Local string
	// Domain is the domain as sent, without a dot at its end, or an address literal with its brackets.
	Domain string
	// Literal is the address of an address literal. It is invalid if Domain is a name, and never an IPv4-mapped address.
	Literal netip.Addr
}

// String returns the path in the syntax of SMTP, without angle brackets. The local part is quoted if it must be. The null
// path is empty. ParsePath returns p for the result.
func (p Path) String() string {
	if p == (Path{}) {
		return ""
	}
	local := p.Local
	if !isDotString(local) {
		local = `"` + quotePairs.Replace(local) + `"`
	}
	if p.Domain == "" {
		return local
	}
	return local + "@" + p.Domain
}

var quotePairs = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// isDotString reports whether a local part needs no quotes, RFC 5321 section 4.1.2.
func isDotString(s string) bool {
	return s != "" && strayDot(s) < 0 && !strings.ContainsFunc(s, func(c rune) bool { return c < utf8.RuneSelf && !isDotOrAtext(byte(c)) })
}

func isDotOrAtext(c byte) bool { return c == '.' || isAtext(c) }

// strayDot returns the index of the first dot that leads, trails or follows a dot, or -1.
func strayDot(s string) int {
	if strings.HasPrefix(s, ".") {
		return 0
	}
	if i := strings.Index(s, ".."); i >= 0 {
		return i + 1
	}
	if strings.HasSuffix(s, ".") {
		return len(s) - 1
	}
	return -1
}

// ParsePath parses a reverse-path, RFC 5321 section 4.1.2, with or without angle brackets. Both "" and "<>" are the
// null reverse-path. White space may be around the brackets only, so "< >" is a fault. UTF-8 is accepted in the local
// part and in the domain (RFC 6531 section 3.3), because a milter cannot see whether the client uses SMTPUTF8. The
// lengths of section 4.5.3.1 are checked; that of the path includes the brackets. The error is a *SyntaxError.
//
// The lax faults, with which the path is returned, are: a leading, trailing or double dot in the local part, a local part
// over 64 octets, "_" in the domain, one dot after the domain.
//
// A domain of digits, as in "user@192.0.2.1", fits the grammar and is accepted.
func ParsePath(s string) (Path, error) {
	p := pathParser{scanner: scanner{s: s}}
	p.brackets()
	switch {
	case p.fault != nil:
		return Path{}, p.fault
	case p.peek() == end:
		return Path{}, nil
	}
	if length := len("<>") + len(p.s) - p.pos; length > maxPath {
		return Path{}, fault(p.pos+maxPath-len("<>"), "path of %d octets; at most %d are allowed", length, maxPath)
	}
	p.route()
	path := p.mailbox()
	if p.fault != nil {
		return Path{}, p.fault
	}
	return path, p.err()
}

type pathParser struct{ scanner }

// brackets removes the angle brackets, if there are any, and the white space around them.
func (p *pathParser) brackets() {
	start := p.pos
	p.take(func(c byte) bool { return c == ' ' || c == '\t' })
	if p.peek() != '<' {
		p.pos = start
		return
	}
	p.s = strings.TrimRight(p.s, " \t")
	p.pos++
	if p.s[len(p.s)-1] != '>' {
		p.fail(len(p.s), "the closing > is missing")
		return
	}
	p.s = p.s[:len(p.s)-1]
}

// route consumes a source route, A-d-l of RFC 5321 section 4.1.2, if there is one.
func (p *pathParser) route() {
	for p.peek() == '@' {
		at := p.pos
		length := strings.IndexAny(p.s[at:], ",:")
		if length < 0 {
			p.fail(at, "nothing before the @")
			return
		}
		p.pos++
		p.domainName(at+length, true)
		if p.fault != nil {
			return
		}
		p.pos++ // "," or ":"
		if p.s[p.pos-1] == ':' {
			return
		}
		if p.peek() != '@' {
			p.unexpected("the next @domain of the route")
		}
	}
}

// mailbox parses the rest: Local-part "@" ( Domain / address-literal ).
func (p *pathParser) mailbox() Path {
	local := p.local()
	switch {
	case p.fault != nil:
		return Path{}
	case p.peek() == end:
		p.fail(p.pos, "the domain is missing")
		return Path{}
	}
	p.expect('@', "the @")
	if p.peek() == '[' {
		start := p.pos
		addr := p.addressLiteral()
		return Path{Local: local, Domain: p.s[start:], Literal: addr}
	}
	return Path{Local: local, Domain: p.domain()}
}

// domain parses the domain of the mailbox and returns it without a dot at its end.
func (p *pathParser) domain() string {
	limit := len(p.s)
	if limit > p.pos+1 && p.s[limit-1] == '.' && p.s[limit-2] != '.' {
		limit--
		// The grammar of a path has none, but RFC 1034 section 3.1 has it, and its meaning is plain.
		p.warn(limit, "dot after the domain")
	}
	domain := p.s[p.pos:limit]
	p.domainName(limit, true)
	return domain
}

// local parses the local part and returns it without quotes.
func (p *pathParser) local() string {
	start := p.pos
	local := ""
	if p.peek() == '"' {
		local = p.quotedLocal()
	} else {
		local = p.dotString()
	}
	if length := p.pos - start; length > maxLocal && p.fault == nil {
		p.warn(start+maxLocal, "local part of %d octets; at most %d are allowed", length, maxLocal)
	}
	return local
}

// dotString parses Dot-string. Stray dots are lax faults, because some providers have assigned such addresses.
func (p *pathParser) dotString() string {
	start := p.pos
	local := p.take(isDotOrAtext)
	if i := strayDot(local); i >= 0 {
		p.warn(start+i, "stray dot in the local part")
	}
	switch c := p.peek(); {
	case !utf8.ValidString(local):
		p.fail(start+index8bit(local), "8-bit octets in the local part that are not UTF-8")
	case c != '@' && c != end:
		p.fail(p.pos, "%s is not allowed in a local part without quotes", quoteAt(p.s, p.pos))
	case strings.Trim(local, ".") == "":
		p.fail(start, "the local part is empty")
	}
	return local
}

// quotedLocal parses Quoted-string. Unlike that of RFC 5322 it has no folding and no control characters.
func (p *pathParser) quotedLocal() string {
	start := p.pos
	escaped := false
	for i := start + 1; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			p.pos = i + 1
			text := p.s[start+1 : i]
			if j := index8bit(text); !utf8.ValidString(text) {
				p.fail(start+1+j, "8-bit octets in the local part that are not UTF-8")
			}
			if !escaped {
				return text
			}
			var b strings.Builder
			unquote(&b, text)
			return b.String()
		case c == '\\' && i+1 < len(p.s):
			escaped = true
			i++
			if q := p.s[i]; q < ' ' || q > '~' {
				p.fail(i, "%s cannot follow a backslash", quoteAt(p.s, i))
				return ""
			}
		case c < ' ' || c == 0x7f:
			p.fail(i, "%s is not allowed in a local part", quoteAt(p.s, i))
			return ""
		}
	}
	p.fail(start, "quoted string is not closed")
	return ""
}
