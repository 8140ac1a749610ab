package headers

import "unicode/utf8"

// MessageID is the value of a Message-ID field. The zero value is no message id.
type MessageID struct {
	// Left and Right are the text on the two sides of the "@" as typed, without white space and comments around. They are
	// never empty.
	Left, Right string
	// Obsolete tells that only RFC 5322 section 4.5.4 permits the form: a quoted string on the left, white space or
	// comments within the brackets, folding or quoted-pairs in a domain literal.
	Obsolete bool
	// Dots tells of a dot that leads or trails a side, or follows another. No grammar permits it, but large senders write
	// it, and it hurts nobody, so it is no error.
	Dots bool
}

// ParseMessageID parses a value that is exactly one msg-id of RFC 5322 section 3.6.4 or its obsolete form of section 4.5.4,
// with white space and comments around it or not. One label on the right side is enough. The error is a *SyntaxError.
//
// It is Lax, and the result is filled, if the only faults are these:
//   - UTF-8 within the brackets: RFC 5322 has none there, but RFC 6532 section 3.3 permits it in a message sent with SMTPUTF8, which
//     a milter cannot see. Other 8-bit octets are a fault under any rule.
//   - Square brackets around the identifier, within the others: the notices of a large mail provider to its customers have them.
func ParseMessageID(value string) (MessageID, error) {
	p := scanner{s: value}
	id := p.messageID()
	return id, p.err()
}

func (p *scanner) messageID() MessageID {
	gaps := p.cfws() & gapObsolete
	if p.peek() == end {
		p.fail(p.pos, "the message id is empty")
	}
	start := p.pos
	p.expect('<', "the opening <")
	square := p.peek() == '['
	if square {
		p.warn(p.pos, "square brackets around the message id")
		p.pos++
	}
	left := p.words(true)
	switch {
	case left.count > 0:
		p.noAdjacent(left, "the left side")
	case p.peek() == '@':
		p.fail(p.pos, "nothing before the @")
	case p.peek() == '>':
		p.fail(p.pos, "no @ in the message id")
	default:
		p.unexpected("the left side")
	}
	p.expectAt()
	right := p.idRight()
	if c := p.peek(); c == '@' {
		p.fail(p.pos, "second @ in the message id")
	}
	if square {
		p.expect(']', "the closing ]")
	}
	p.expect('>', "the closing >")
	p.only7bit(start)
	gaps |= p.cfws() & gapObsolete
	switch p.peek() {
	case end:
	case '<':
		p.fail(p.pos, "second message id")
	default:
		p.fail(p.pos, "%s after the message id", quote(p.s[p.pos:]))
	}
	if p.fault != nil {
		return MessageID{}
	}
	return MessageID{
		Left:     p.s[left.start:left.end],
		Right:    p.s[right.start:right.end],
		Obsolete: left.quoted || gaps|left.gaps|right.gaps != 0,
		Dots:     left.strayDot >= 0 || right.strayDot >= 0,
	}
}

// only7bit finds fault with 8-bit octets between start and the position.
func (p *scanner) only7bit(start int) {
	id := p.s[start:p.pos]
	i := index8bit(id)
	switch {
	case i < 0:
	case utf8.ValidString(id):
		p.warn(start+i, "%s in the message id is not ASCII", quoteAt(id, i))
	default:
		p.fail(start+i, "8-bit octets in the message id that are not UTF-8")
	}
}

// expectAt takes the "@" between the two sides.
func (p *scanner) expectAt() {
	if p.peek() == '>' {
		p.fail(p.pos, "no @ in the message id")
	}
	p.expect('@', "the @")
}

// idRight takes the right side: words, or a domain literal.
func (p *scanner) idRight() words {
	before := p.cfws()
	if p.peek() == '[' {
		w := words{start: p.pos, strayDot: -1, adjacent: -1}
		inside := p.literal()
		w.end = p.pos
		w.gaps = before | inside | p.cfws()
		return w
	}
	w := p.words(false)
	w.gaps |= before
	switch {
	case w.count > 0:
		p.noAdjacent(w, "the right side")
	case p.peek() == '>':
		p.fail(p.pos, "nothing after the @")
	default:
		p.unexpected("the right side")
	}
	return w
}

// noAdjacent fails if two words have no dot between them; where is a noun with its article.
func (p *scanner) noAdjacent(w words, where string) {
	if w.adjacent >= 0 {
		p.fail(w.adjacent, "two words without a dot between in %s", where)
	}
}
