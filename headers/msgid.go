package headers

import "unicode/utf8"

// CheckMessageID returns a *SyntaxError if the value of a Message-ID field is not exactly one msg-id of RFC 5322 section
// 3.6.4 or of its obsolete form, section 4.5.4, with or without white space and comments around it. One label on the right
// of the "@" is enough. Leading, trailing and double dots on both sides are accepted: no grammar permits them, but large
// senders write them and they do no harm.
//
// The lax faults are:
//   - UTF-8 between the brackets. RFC 6532 section 3.3 permits it in a message that was sent with SMTPUTF8, which a milter
//     cannot see. Other 8-bit octets are a fault under any rule.
//   - Square brackets around the identifier, inside the angle brackets. Notices of a large mail provider have them.
func CheckMessageID(value string) error {
	p := scanner{s: value}
	p.messageID()
	return p.err()
}

func (p *scanner) messageID() {
	p.cfws()
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
	p.idLeft()
	p.expect('@', "the @")
	p.idRight()
	if p.peek() == '@' {
		p.fail(p.pos, "second @ in the message id")
	}
	if square {
		p.expect(']', "the closing ]")
	}
	p.expect('>', "the closing >")
	p.only7bit(start)
	p.cfws()
	switch p.peek() {
	case end:
	case '<':
		p.fail(p.pos, "second message id")
	default:
		p.fail(p.pos, "%s after the message id", quote(p.s[p.pos:]))
	}
}

// idLeft parses the left side: words.
func (p *scanner) idLeft() {
	w := p.words(true)
	switch {
	case w.count > 0:
		p.noAdjacent(w, "the left side")
		if p.peek() == '>' {
			p.fail(p.pos, "no @ in the message id")
		}
	case p.peek() == '@':
		p.fail(p.pos, "nothing before the @")
	case p.peek() == '>':
		p.fail(p.pos, "no @ in the message id")
	default:
		p.unexpected("the left side")
	}
}

// idRight parses the right side: words or a domain literal, with white space and comments around it.
func (p *scanner) idRight() {
	p.cfws()
	if p.peek() == '[' {
		p.literal()
		p.cfws()
		return
	}
	w := p.words(false)
	switch {
	case w.count > 0:
		p.noAdjacent(w, "the right side")
	case p.peek() == '>':
		p.fail(p.pos, "nothing after the @")
	default:
		p.unexpected("the right side")
	}
}

// only7bit fails if there are 8-bit octets between start and the position. UTF-8 is a lax fault.
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
