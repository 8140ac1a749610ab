package headers

import "strings"

// scanner walks over a text by the lexical rules of RFC 5322 section 3.2. The first fault sticks and moves the position to
// the end, so that loops finish by themselves and parsers read as straight lines.
type scanner struct {
	s     string
	pos   int
	fault *SyntaxError
	lax   *SyntaxError // the first lax fault; counts only without a fault
}

// err returns what a parser is to return when it is done.
func (p *scanner) err() error {
	switch {
	case p.fault != nil:
		return p.fault
	case p.lax != nil:
		return p.lax
	}
	return nil
}

// end is what peek gives when nothing is left.
const end = -1

// peek returns the next octet without taking it, or end.
func (p *scanner) peek() int {
	if p.pos >= len(p.s) {
		return end
	}
	return int(p.s[p.pos])
}

// fail records a fault unless there is one already, and stops the scan.
func (p *scanner) fail(pos int, format string, args ...any) {
	if p.fault == nil {
		p.fault = fault(pos, format, args...)
	}
	p.pos = len(p.s)
}

// warn records a lax fault unless there is one already, and goes on.
func (p *scanner) warn(pos int, format string, args ...any) {
	if p.lax == nil {
		p.lax = fault(pos, format, args...)
		p.lax.Lax = true
	}
}

// unexpected fails because something else should stand here; want is a noun such as "the day".
func (p *scanner) unexpected(want string) {
	if p.pos >= len(p.s) {
		p.fail(p.pos, "%s is missing", want)
		return
	}
	p.fail(p.pos, "%s where %s should be", quoteAt(p.s, p.pos), want)
}

// expect takes the octet c, or fails.
func (p *scanner) expect(c byte, want string) {
	if p.peek() != int(c) {
		p.unexpected(want)
		return
	}
	p.pos++
}

// take returns the longest run of octets for which in holds; it may be empty.
func (p *scanner) take(in func(byte) bool) string {
	start := p.pos
	for p.pos < len(p.s) && in(p.s[p.pos]) {
		p.pos++
	}
	return p.s[start:p.pos]
}

// gap says what stood between two tokens. Zero is nothing.
type gap uint8

const (
	gapSpace    gap = 1 << iota // FWS
	gapComment                  // a comment
	gapObsolete                 // something only section 4.2 permits
)

// cfws takes comments and folding white space, RFC 5322 sections 3.2.2 and 4.2.
func (p *scanner) cfws() gap {
	var g gap
	folds := 0
	for {
		switch p.peek() {
		case ' ', '\t':
			g |= gapSpace
			p.pos++
		case '\r', '\n':
			g |= gapSpace
			// RFC 5322 section 4.2: lines of white space alone are obs-FWS.
			if folds++; folds > 1 {
				g |= gapObsolete
			}
			p.fold()
		case '(':
			g |= gapComment | p.comment()
			folds = 0
		default:
			return g
		}
	}
}

// fold takes a line end, CRLF or the bare LF of the milter protocol, that white space must follow.
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

// comment takes a comment, RFC 5322 section 3.2.2. Comments nest; they are counted, not recursed into, so depth costs
// nothing. 8-bit octets pass whatever their encoding: localised zone names stand here, and they change no meaning.
func (p *scanner) comment() gap {
	start, depth := p.pos, 0
	var g gap
	for {
		c := p.peek()
		switch c {
		case end:
			p.fail(start, "comment is not closed")
			return g
		case '(':
			depth++
			p.pos++
		case ')':
			depth--
			p.pos++
			if depth == 0 {
				return g
			}
		default:
			g |= p.content(c)
		}
	}
}

// content takes one octet c, quoted-pair or fold inside a comment, a quoted-string or a domain-literal.
func (p *scanner) content(c int) gap {
	switch {
	case c == '\\':
		return p.quotedPair()
	case c == '\r' || c == '\n':
		p.fold()
		return 0
	case c == 0:
		p.fail(p.pos, "NUL octet")
		return 0
	}
	p.pos++
	// RFC 5322 section 4.1: obs-NO-WS-CTL.
	if c < ' ' && c != '\t' || c == 0x7f {
		return gapObsolete
	}
	return 0
}

// quotedPair takes a backslash and the octet it quotes, RFC 5322 sections 3.2.1 and 4.1 (obs-qp permits any octet).
func (p *scanner) quotedPair() gap {
	if p.pos+1 >= len(p.s) {
		p.fail(p.pos, "backslash with nothing after it")
		return 0
	}
	c := p.s[p.pos+1]
	p.pos += 2
	if c < ' ' && c != '\t' || c == 0x7f {
		return gapObsolete
	}
	return 0
}

// quotedString takes a quoted-string, RFC 5322 section 3.2.4.
func (p *scanner) quotedString() {
	start := p.pos
	p.pos++
	for {
		switch c := p.peek(); c {
		case end:
			p.fail(start, "quoted string is not closed")
			return
		case '"':
			p.pos++
			return
		default:
			p.content(c)
		}
	}
}

// literal takes a domain-literal, RFC 5322 section 3.4.1, without looking at what the address is.
func (p *scanner) literal() gap {
	start := p.pos
	p.pos++
	var g gap
	for {
		switch c := p.peek(); c {
		case end:
			p.fail(start, "domain literal is not closed")
			return g
		case ']':
			p.pos++
			return g
		case '[':
			p.unexpected("the end of the domain literal")
			return g
		case ' ', '\t', '\r', '\n', '\\':
			// Folding and quoted-pairs: not in a no-fold-literal, RFC 5322 section 3.6.4.
			g |= gapObsolete
			p.content(c)
		default:
			g |= p.content(c)
		}
	}
}

// words is a run of atoms, quoted strings and dots with comments and folding anywhere between: the common superset of
// phrase, local-part, domain, id-left and id-right. Which one it may be follows from the two faults.
type words struct {
	start, end int  // the run without white space and comments at its ends
	count      int  // atoms and quoted strings
	quoted     bool // one was a quoted string
	gaps       gap  // what stood before, between and after
	strayDot   int  // first dot that leads, trails or follows a dot, or -1
	adjacent   int  // first word that follows a word without a dot between, or -1
}

// words takes a run of words; it may be empty. Quoted strings belong to it if withQuoted.
func (p *scanner) words(withQuoted bool) words {
	w := words{strayDot: -1, adjacent: -1, gaps: p.cfws()}
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
			w.quoted = w.quoted || c == '"'
			p.word(c)
		default:
			if lastDot >= 0 && !afterWord && w.strayDot < 0 {
				w.strayDot = lastDot
			}
			return w
		}
		w.end = p.pos
		w.gaps |= p.cfws()
	}
}

// word takes the atom or quoted string that begins with c.
func (p *scanner) word(c int) {
	if c == '"' {
		p.quotedString()
		return
	}
	p.take(isAtext)
}

// isAtext reports whether c may stand in an atom, RFC 5322 section 3.2.3. Octets over 127 may, RFC 6532 section 3.2;
// whether they make up UTF-8 is for the caller to ask.
func isAtext(c byte) bool {
	return isLetter(c) || isDigit(c) || c >= 0x80 || c > ' ' && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// plain returns the text of a run that has been scanned already: comments gone, quoted strings unquoted, folding undone.
// sep stands for white space and comments between words. The argument itself is returned where it is plain already.
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

// unquote writes what stands between the quotes of a quoted string: quoted-pairs resolved, folds removed (RFC 5322 section
// 3.2.4: the CRLF of a fold and the backslash of a quoted-pair are invisible).
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
