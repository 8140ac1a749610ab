package headers

import (
	"strings"
	"unicode/utf8"
)

// CheckMessageID returns a *SyntaxError if the value of a Message-ID field is not exactly one msg-id of RFC 5322 section
// 3.6.4 or of its obsolete form, section 4.5.4, with or without white space and comments around it. One label on the right
// of the "@" is enough. Leading, trailing and double dots on both sides are accepted: no grammar permits them, but large
// senders write them and they do no harm.
//
// UTF-8 between the brackets is accepted too: RFC 6532 section 3.3 permits it in a message that was sent with SMTPUTF8, which
// a milter cannot see.
//
// Two faults are not lax: control characters other than folding, also where section 4.5.4 permits them, and more than
// MaxLine octets without the white space around the value. All others are: honest programs make each of them, and the field
// is only compared with others.
func CheckMessageID(value string) error {
	if i := strings.IndexFunc(value, isControl); i >= 0 {
		return fault(i, "control character %s in the message id", quoteAt(value, i))
	}
	if n := len(strings.Trim(value, " \t\r\n")); n > MaxLine {
		return fault(0, "the message id has %d octets; at most %d are allowed", n, MaxLine)
	}
	p := scanner{s: value}
	p.messageID()
	if p.fault == nil {
		return nil
	}
	p.fault.Lax = true
	return p.fault
}

// isControl reports whether c is a control character, other than those of folding.
func isControl(c rune) bool { return c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f }

func (p *scanner) messageID() {
	p.cfws()
	if p.peek() == end {
		p.fail(p.pos, "the message id is empty")
	}
	start := p.pos
	p.expect('<', "the opening <")
	p.idLeft()
	p.expect('@', "the @")
	p.idRight()
	if p.peek() == '@' {
		p.fail(p.pos, "second @ in the message id")
	}
	p.expect('>', "the closing >")
	p.onlyUTF8(start)
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
	p.noAdjacent(w, "the left side")
	switch c := p.peek(); {
	case c == '>':
		p.fail(p.pos, "no @ in the message id")
	case w.count > 0:
	case c == '@':
		p.fail(p.pos, "nothing before the @")
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

// onlyUTF8 fails if there are 8-bit octets between start and the position that are not UTF-8.
func (p *scanner) onlyUTF8(start int) {
	if id := p.s[start:p.pos]; !utf8.ValidString(id) {
		p.fail(start+index8bit(id), "8-bit octets in the message id that are not UTF-8")
	}
}
