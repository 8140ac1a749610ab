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

// Path is a reverse-path without its source route, which RFC 5321 appendix C wants ignored. The zero value is the null
// reverse-path. Paths compare with ==, by octets.
type Path struct {
	// Local is the local part without quotes. Its case matters (RFC 5321 section 2.4).
	Local string
	// Domain is the domain as typed, without a dot at its end. An address literal stands here with its brackets.
	Domain string
	// Literal is the address of an address literal, and invalid otherwise. An IPv4-mapped address is given as IPv4.
	Literal netip.Addr
}

// IsNull reports whether p is the null reverse-path "<>".
func (p Path) IsNull() bool { return p == Path{} }

// String returns the path without angle brackets as SMTP wants it: "" for the null path, the local part quoted where it
// has to be. Parsing it gives p again.
func (p Path) String() string {
	if p.IsNull() {
		return ""
	}
	local := p.Local
	if !isDotString(local) {
		local = quoteLocal(local)
	}
	if p.Domain == "" {
		return local
	}
	return local + "@" + p.Domain
}

// isDotString reports whether a local part can stand without quotes, RFC 5321 section 4.1.2.
func isDotString(s string) bool {
	afterAtom := false
	for i := range len(s) {
		switch {
		case isAtext(s[i]):
			afterAtom = true
		case s[i] == '.' && afterAtom:
			afterAtom = false
		default:
			return false
		}
	}
	return afterAtom
}

func quoteLocal(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// ParsePath parses a reverse-path, RFC 5321 section 4.1.2, as typed by the client, with or without angle brackets. Both ""
// and "<>" are the null reverse-path. UTF-8 may stand in the local part and in the domain (RFC 6531 section 3.3), since a
// milter cannot see whether SMTPUTF8 was asked for. The lengths of section 4.5.3.1 are checked, that of the path as if it
// had its brackets. The error is a *SyntaxError.
//
// It is Lax, and the path is filled, if the only faults are: a dot that leads or trails the local part or follows another
// one, a local part over 64 octets, "_" in the domain, one dot after the domain.
//
// A domain of digits alone, "user@192.0.2.1", passes: it fits the grammar, and whether it exists is for the DNS to say.
func ParsePath(s string) (Path, error) {
	p := pathParser{scanner: scanner{s: strings.TrimRight(s, " \t")}}
	p.brackets()
	switch {
	case p.fault != nil:
		return Path{}, p.fault
	case p.peek() == end:
		return Path{}, nil
	}
	if length := len("<>") + len(p.s) - p.pos; length > maxPath {
		return Path{}, fault(p.pos+maxPath-len("<>"), "path of %d octets, %d is the most", length, maxPath)
	}
	p.route()
	path := p.mailbox()
	if p.fault != nil {
		return Path{}, p.fault
	}
	return path, p.err()
}

type pathParser struct{ scanner }

// brackets takes away the angle brackets if there are any.
func (p *pathParser) brackets() {
	p.take(func(c byte) bool { return c == ' ' || c == '\t' })
	if p.peek() != '<' {
		return
	}
	p.pos++
	if p.s[len(p.s)-1] != '>' {
		p.fail(len(p.s), "the closing > is missing")
		return
	}
	p.s = p.s[:len(p.s)-1]
}

// route takes a source route, A-d-l of RFC 5321 section 4.1.2, if there is one.
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

// mailbox takes the rest: Local-part "@" ( Domain / address-literal ).
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
		addr, untagged := p.addressLiteral()
		if untagged {
			p.fail(start+len("["), untaggedCause)
		}
		return Path{Local: local, Domain: p.s[start:], Literal: addr}
	}
	return Path{Local: local, Domain: p.domain()}
}

// domain takes the domain of the mailbox and returns it without a dot at its end.
func (p *pathParser) domain() string {
	limit := len(p.s)
	if limit > p.pos+1 && p.s[limit-1] == '.' && p.s[limit-2] != '.' {
		limit--
		// Not in the grammar of a path, but it means what it says, and RFC 1034 section 3.1 has it.
		p.warn(limit, "dot after the domain")
	}
	domain := p.s[p.pos:limit]
	p.domainName(limit, true)
	return domain
}

// local takes the local part and returns it without quotes.
func (p *pathParser) local() string {
	start := p.pos
	local := ""
	if p.peek() == '"' {
		local = p.quotedLocal()
	} else {
		local = p.dotString()
	}
	if length := p.pos - start; length > maxLocal && p.fault == nil {
		p.warn(start+maxLocal, "local part of %d octets, %d is the most", length, maxLocal)
	}
	return local
}

// dotString takes Dot-string. Stray dots are lax, as some providers have given out such addresses.
func (p *pathParser) dotString() string {
	start, atoms := p.pos, 0
	for {
		empty := p.take(isAtext) == ""
		if !empty {
			atoms++
		}
		more := p.peek() == '.'
		switch {
		case empty && more:
			p.warn(p.pos, "stray dot in the local part")
		case empty && p.pos > start:
			p.warn(p.pos-1, "stray dot in the local part")
		}
		if !more {
			break
		}
		p.pos++
	}
	local := p.s[start:p.pos]
	switch c := p.peek(); {
	case !utf8.ValidString(local):
		p.fail(start+index8bit(local), "8-bit octets in the local part that are not UTF-8")
	case c != '@' && c != end:
		p.fail(p.pos, "%s is not allowed in a local part without quotes", quoteAt(p.s, p.pos))
	case atoms == 0:
		p.fail(start, "the local part is empty")
	}
	return local
}

// quotedLocal takes Quoted-string: unlike that of RFC 5322 it has no folding and no control characters.
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
