package headers

import "strings"

// Mailbox is one mailbox of a From field. The zero value is not a mailbox.
type Mailbox struct {
	// Name is the display name without quotes, comments and folding. Encoded words (RFC 2047) are not decoded. It is empty
	// if there is none.
	Name string
	// Local is the local part without quotes. It may have any octet, because a quoted-pair can.
	Local string
	// Domain is the domain as sent, without comments, folding and stray dots. A domain literal keeps its brackets. It is never empty.
	Domain string
}

// ParseMailboxList parses the value of a From field: a list of mailboxes, RFC 5322 section 3.6.2, and groups, RFC 6854
// section 2.1. It accepts the obsolete forms of RFC 5322 section 4.4: empty list elements, routes, dots and comments in
// a display name. The result is empty for a list of empty groups.
//
// 8-bit octets are accepted in every address, in any encoding; see Has8bit. The syntax of the domain is not checked. The
// error is a *SyntaxError.
//
// A fault is lax if there is an address nevertheless, also one in encoded-words, or one word in its place ("root", "Name
// <MAILER-DAEMON>"). The addresses are returned with it, but not encoded ones; a word is none. Typical are a display name
// with commas, other specials or 8-bit octets that are not quoted or encoded, and a domain with a dot too many. Angle
// brackets around something else, as in "Name <>", are never lax.
func ParseMailboxList(value string) ([]Mailbox, error) {
	p := mailboxParser{scanner: scanner{s: value}}
	p.list()
	if p.fault != nil {
		found, ok := readMailboxes(value)
		p.fault.Lax = ok
		return found, p.fault
	}
	for _, m := range p.found {
		if !IsASCII(m.Name) {
			p.warn(index8bit(value), "display name has octets over 127 that are not encoded")
		}
	}
	return p.found, p.err()
}

type mailboxParser struct {
	scanner
	found     []Mailbox
	count     int  // mailboxes and groups
	strayDots bool // accept leading, trailing and double dots
}

// list parses the whole value: address-list or obs-addr-list.
func (p *mailboxParser) list() {
	for {
		p.address(false)
		switch p.peek() {
		case end:
			if p.count == 0 {
				p.fail(p.pos, "no address")
			}
			return
		case ',':
			p.pos++
		case '<':
			p.fail(p.pos, "< after an address; a display name with @ in it must be quoted")
		default:
			p.fail(p.pos, "%s after an address", quote(p.s[p.pos:]))
		}
	}
}

// address parses one mailbox or group with the white space around it, or an empty element.
func (p *mailboxParser) address(inGroup bool) {
	w := p.words(true)
	if w.count == 0 && w.strayDot < 0 {
		p.addressWithoutName(inGroup)
		return
	}
	switch c := p.peek(); {
	case c == '@':
		p.addrSpec(w, "")
	case c == '<':
		p.angleAddr(p.displayName(w))
	case c == ':' && inGroup:
		p.fail(p.pos, "group within a group")
	case c == ':':
		p.displayName(w)
		p.group()
	case c == end || c == ',' || c == ';':
		p.fail(w.start, "%s is not an address, it has no @", quote(p.s[w.start:w.end]))
	default:
		p.unexpected("an address")
	}
}

// addressWithoutName parses an element that does not begin with a word: an angle-addr or nothing.
func (p *mailboxParser) addressWithoutName(inGroup bool) {
	switch c := p.peek(); {
	case c == '<':
		p.angleAddr("")
	case c == ',', c == end, c == ';' && inGroup:
		// An empty element, RFC 5322 section 4.4 (obs-mbox-list, obs-group-list).
	case c == '@':
		p.fail(p.pos, "nothing before the @")
	default:
		p.unexpected("an address")
	}
}

// displayName returns the text of a phrase. RFC 5322 section 4.1 (obs-phrase) permits dots in it, but not at its
// beginning.
func (p *mailboxParser) displayName(w words) string {
	if w.strayDot == w.start {
		p.fail(w.start, "display name begins with a dot; it must be quoted")
	}
	if p.fault != nil {
		return ""
	}
	return plain(p.s[w.start:w.end], " ")
}

// group parses a group from its colon on, RFC 5322 section 3.4.
func (p *mailboxParser) group() {
	p.count++
	start := p.pos
	p.pos++
	for {
		p.address(true)
		switch p.peek() {
		case ',':
			p.pos++
		case ';':
			p.pos++
			p.cfws()
			return
		case end:
			p.fail(start, "group has no ; at its end")
			return
		default:
			p.fail(p.pos, "%s after an address", quote(p.s[p.pos:]))
			return
		}
	}
}

// angleAddr parses angle-addr or obs-angle-addr from its "<" on.
func (p *mailboxParser) angleAddr(name string) {
	p.pos++
	p.cfws()
	if c := p.peek(); c == '@' || c == ',' {
		p.route()
	}
	w := p.words(true)
	switch c := p.peek(); {
	case w.count > 0 && c == '>':
		p.fail(p.pos, "no @ in the address")
	case w.count > 0:
	case c == '>':
		p.fail(p.pos, "nothing between < and >")
	case c == '@':
		p.fail(p.pos, "nothing before the @")
	}
	p.addrSpec(w, name)
	p.expect('>', "the closing >")
	p.cfws()
}

// route consumes obs-route, RFC 5322 section 4.4.
func (p *mailboxParser) route() {
	for {
		p.cfws()
		switch p.peek() {
		case ',':
			p.pos++
		case '@':
			p.pos++
			p.domain()
		case ':':
			p.pos++
			return
		default:
			p.unexpected("the colon after the route")
			return
		}
	}
}

// addrSpec parses "@" domain after the local part w and adds the mailbox.
func (p *mailboxParser) addrSpec(w words, name string) {
	p.noAdjacent(w, "the local part")
	if w.strayDot >= 0 && !p.strayDots {
		p.fail(w.strayDot, "stray dot in the local part")
	}
	p.expect('@', "the @")
	domain := p.domain()
	if p.fault != nil {
		return
	}
	p.count++
	p.found = append(p.found, Mailbox{Name: name, Local: plain(p.s[w.start:w.end], ""), Domain: domain})
}

// domain parses a domain with the white space and comments around it. The result has none.
func (p *mailboxParser) domain() string {
	p.cfws()
	start := p.pos
	if p.peek() == '[' {
		p.literal()
		stop := p.pos
		p.cfws()
		if p.fault != nil {
			return ""
		}
		return unfold(p.s[start:stop])
	}
	w := p.words(false)
	if w.count == 0 && w.strayDot < 0 {
		p.unexpected("the domain")
	}
	p.noAdjacent(w, "the domain")
	if w.strayDot >= 0 && !p.strayDots {
		p.fail(w.strayDot, "stray dot in the domain")
	}
	if p.fault != nil {
		return ""
	}
	return plain(p.s[w.start:w.end], "")
}

// unfold removes the white space from a domain literal, except after a backslash.
func unfold(literal string) string {
	if !strings.ContainsAny(literal, " \t\r\n") {
		return literal
	}
	var b strings.Builder
	for i := 0; i < len(literal); i++ {
		switch literal[i] {
		case ' ', '\t', '\r', '\n':
			continue
		case '\\':
			b.WriteByte('\\')
			i++
		}
		b.WriteByte(literal[i])
	}
	return b.String()
}
