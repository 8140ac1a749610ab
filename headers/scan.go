package headers

import "strings"

// scanner walks over a text by the lexical rules of RFC 5322 section 3.2. The first fault is kept and moves the position to
// the end of the text. So every loop ends after a fault, and a parser need not check for one after each step.
type scanner struct {
	s     string
	pos   int
	fault *SyntaxError
	lax   *SyntaxError // first lax fault; ignored if there is a fault
	open  bool         // skipClosed has found something that is not closed
}

// err returns the result of a parser that is done.
func (p *scanner) err() error {
	switch {
	case p.fault != nil:
		return p.fault
	case p.lax != nil:
		return p.lax
	}
	return nil
}

// end is the result of peek at the end of the text.
const end = -1

// peek returns the next octet without consuming it, or end.
func (p *scanner) peek() int {
	if p.pos >= len(p.s) {
		return end
	}
	return int(p.s[p.pos])
}

// fail records a fault, unless there is one already, and moves to the end.
func (p *scanner) fail(pos int, format string, args ...any) {
	if p.fault == nil {
		p.fault = fault(pos, format, args...)
	}
	p.pos = len(p.s)
}

// warn records a lax fault, unless there is one already.
func (p *scanner) warn(pos int, format string, args ...any) {
	if p.lax == nil {
		p.lax = fault(pos, format, args...)
		p.lax.Lax = true
	}
}

// unexpected fails because want is not here. want is a noun such as "the day".
func (p *scanner) unexpected(want string) {
	if p.pos >= len(p.s) {
		p.fail(p.pos, "%s is missing", want)
		return
	}
	p.fail(p.pos, "%s where %s should be", quoteAt(p.s, p.pos), want)
}

// expect consumes the octet c, or fails. want is a noun for c.
func (p *scanner) expect(c byte, want string) {
	if p.peek() != int(c) {
		p.unexpected(want)
		return
	}
	p.pos++
}

// take consumes and returns the longest run of octets for which in returns true. The run may be empty.
func (p *scanner) take(in func(byte) bool) string {
	start := p.pos
	for p.pos < len(p.s) && in(p.s[p.pos]) {
		p.pos++
	}
	return p.s[start:p.pos]
}

// gap says what is between two tokens. Zero is nothing.
type gap uint8

const (
	gapSpace   gap = 1 << iota // folding white space
	gapComment                 // a comment
)

// cfws consumes comments and folding white space, RFC 5322 sections 3.2.2 and 4.2. There may be none.
func (p *scanner) cfws() gap {
	var g gap
	for {
		switch p.peek() {
		case ' ', '\t':
			g |= gapSpace
			p.pos++
		case '\r', '\n':
			g |= gapSpace
			p.fold()
		case '(':
			g |= gapComment
			p.comment()
		default:
			return g
		}
	}
}

// fold consumes a line end, which is CRLF or the bare LF of the milter protocol. White space must follow.
func (p *scanner) fold() {
	start := p.pos
	if p.peek() == '\r' {
		p.pos++
	}
	if p.peek() != '\n' {
		p.fail(start, "CR without LF")
		return
	}
	p.pos++
	if c := p.peek(); c != ' ' && c != '\t' {
		p.fail(start, "line break without white space after it")
	}
}

// comment consumes a comment, RFC 5322 section 3.2.2. Nested comments are counted, so their depth does not use the stack.
// 8-bit octets in any encoding are allowed: clients write localised zone names here.
func (p *scanner) comment() {
	start, depth := p.pos, 0
	for {
		c := p.peek()
		switch c {
		case end:
			p.fail(start, "comment is not closed")
			return
		case '(':
			depth++
			p.pos++
		case ')':
			depth--
			p.pos++
			if depth == 0 {
				return
			}
		default:
			p.content(c)
		}
	}
}

// content consumes one octet c, quoted-pair or fold of a comment, a quoted-string or a domain-literal. Control characters
// are allowed, RFC 5322 section 4.1 (obs-NO-WS-CTL).
func (p *scanner) content(c int) {
	switch c {
	case '\\':
		p.quotedPair()
	case '\r', '\n':
		p.fold()
	case 0:
		p.fail(p.pos, "NUL octet")
	default:
		p.pos++
	}
}

// quotedPair consumes a backslash and the octet after it, which may be any, RFC 5322 section 4.1 (obs-qp).
func (p *scanner) quotedPair() {
	if p.pos+1 >= len(p.s) {
		p.fail(p.pos, "backslash with nothing after it")
		return
	}
	p.pos += 2
}

// quotedString consumes a quoted-string, RFC 5322 section 3.2.4.
func (p *scanner) quotedString() { p.enclosed('"', "quoted string") }

// literal consumes a domain-literal, RFC 5322 section 3.4.1. It does not parse the address.
func (p *scanner) literal() { p.enclosed(']', "domain literal") }

// enclosed consumes a text up to the octet that closes it. what is a noun for it.
func (p *scanner) enclosed(closing int, what string) {
	start := p.pos
	p.pos++
	for {
		switch c := p.peek(); {
		case c == end:
			p.fail(start, "%s is not closed", what)
			return
		case c == closing:
			p.pos++
			return
		case c == '[' && closing == ']':
			p.unexpected("the end of the domain literal")
			return
		default:
			p.content(c)
		}
	}
}

// words is a run of atoms, quoted strings and dots with comments and folding between them. Phrase, local-part, domain,
// id-left and id-right are such runs. They differ in whether they permit a strayDot or an adjacent word.
type words struct {
	start, end int // the run without white space and comments at its ends
	count      int // of atoms and quoted strings
	strayDot   int // position of the first dot that leads, trails or follows a dot, or -1
	adjacent   int // position of the first word that follows a word without a dot between them, or -1
}

// words consumes a run of words, which may be empty. It has quoted strings if withQuoted is true.
func (p *scanner) words(withQuoted bool) words {
	w := words{strayDot: -1, adjacent: -1}
	p.cfws()
	w.start, w.end = p.pos, p.pos
	lastDot, afterWord := -1, false
	for {
		start, c := p.pos, p.peek()
		switch {
		case c == '.':
			if !afterWord && w.strayDot < 0 {
				w.strayDot = start
			}
			lastDot, afterWord = start, false
			p.pos++
		case c == '"' && withQuoted, c != end && isAtext(byte(c)):
			if afterWord && w.adjacent < 0 {
				w.adjacent = start
			}
			afterWord = true
			w.count++
			if p.take(isAtext) == "" {
				p.quotedString()
			}
		default:
			if lastDot >= 0 && !afterWord && w.strayDot < 0 {
				w.strayDot = lastDot
			}
			return w
		}
		w.end = p.pos
		p.cfws()
	}
}

// noAdjacent fails if two words have no dot between them. where is a noun with its article.
func (p *scanner) noAdjacent(w words, where string) {
	if w.adjacent >= 0 {
		p.fail(w.adjacent, "two words without a dot between them in %s", where)
	}
}

// isAtext reports whether c may be in an atom, RFC 5322 section 3.2.3. Octets over 127 may, RFC 6532 section 3.2; the
// caller checks whether they are UTF-8.
func isAtext(c byte) bool {
	return isLetter(c) || isDigit(c) || c >= 0x80 || c > ' ' && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// plain returns the text of a run that was scanned without a fault: without comments, quotes and folding. sep replaces
// white space and comments between words. If raw is plain already, it is returned without a copy.
func plain(raw, sep string) string {
	if !strings.ContainsAny(raw, "\"(\\\t\r\n ") {
		return raw
	}
	if sep == " " && !strings.ContainsAny(raw, "\"(\\\t\r\n") && !strings.Contains(raw, "  ") {
		return raw
	}
	if inner := raw[1 : len(raw)-1]; raw[0] == '"' && !strings.ContainsAny(inner, "\"\\\r\n") {
		return inner
	}
	var b strings.Builder
	p := scanner{s: raw}
	for p.peek() != end {
		start := p.pos
		switch {
		case p.peek() == '"':
			p.quotedString()
			unquote(&b, raw[start+1:p.pos-1])
		case p.cfws() != 0:
			b.WriteString(sep)
		default:
			b.WriteByte(raw[p.pos])
			p.pos++
		}
	}
	return b.String()
}

// unquote writes the text between the quotes of a quoted string. It removes the CRLF of folds and the backslashes of
// quoted-pairs, RFC 5322 section 3.2.4.
func unquote(b *strings.Builder, s string) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\r', '\n':
			continue
		case '\\':
			i++
		}
		b.WriteByte(s[i])
	}
}
