package headers

import (
	"iter"
	"strings"
)

// ListElements yields what stands between the commas and semicolons of a From field, and whether it is the last. Those in quoted strings
// and comments do not count; a quote or parenthesis that is not closed is text.
func ListElements(list string) iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		p := scanner{s: list}
		start := 0
		for p.pos < len(list) {
			if p.skipClosed() {
				continue
			}
			if c := list[p.pos]; c == ',' || c == ';' {
				if !yield(list[start:p.pos], false) {
					return
				}
				start = p.pos + 1
			}
			p.pos++
		}
		yield(list[start:], true)
	}
}

// WithoutComments returns a text without its comments. A comment that is not closed takes the rest. Parentheses in quoted strings stay.
func WithoutComments(text string) string {
	if !strings.Contains(text, "(") {
		return text
	}
	var b strings.Builder
	p := scanner{s: text}
	for p.pos < len(text) {
		start := p.pos
		if text[start] == '(' {
			p.pos += CommentEnd(text[start:])
			continue
		}
		if !p.skipClosed() {
			p.pos++
		}
		b.WriteString(text[start:p.pos])
	}
	return b.String()
}

// SplitDomains returns what stands in a domain before white space or a comment: "b.example" of "a@b.example .c.example". It takes an "@"
// outside of quotes for that of an address.
func SplitDomains(value string) (beginnings []string) {
	p := scanner{s: value}
	for p.pos < len(value) {
		if p.skipClosed() {
			continue
		}
		p.pos++
		if value[p.pos-1] != '@' {
			continue
		}
		p.cfws()
		beginning := p.take(isDotOrAtext)
		if p.cfws() != 0 && (strings.HasSuffix(beginning, ".") || p.peek() == '.') {
			beginnings = append(beginnings, beginning)
		}
	}
	return beginnings
}

// RoutedDomains returns the domains of addresses of these forms in a From field: user%host.example (RFC 1123 section 5.2.16) and
// host.example!user (RFC 976 section 2.3), also with comments and white space between. Sendmail makes addresses with "@" of them
// when it delivers the message. What stands before an angle bracket or a colon is no address.
func RoutedDomains(value string) (domains []string) {
	if !strings.ContainsAny(value, "%!") {
		return nil
	}
	p := scanner{s: value}
	var address []byte
	for p.pos <= len(value) {
		start, c := p.pos, p.peek()
		if p.skipClosed() {
			if quoted := value[start:p.pos]; c == '"' && !strings.ContainsAny(quoted, "@%!") {
				address = append(address, strings.Trim(quoted, `"`)...)
			}
			continue
		}
		p.pos++
		switch c {
		case end, ',', ';', '>':
			domains = append(domains, routedDomains(string(address))...)
			address = address[:0]
		case '<', ':':
			address = address[:0]
		case ' ', '\t', '\r', '\n', '\\':
		default:
			address = append(address, byte(c))
		}
	}
	return domains
}

// routedDomains returns the domains of one address. If there are two, Sendmail takes the first.
func routedDomains(address string) (domains []string) {
	if strings.Contains(address, "@") {
		return nil
	}
	if host, user, _ := strings.Cut(address, "!"); user != "" {
		domains = append(domains, host)
	}
	if i := strings.LastIndexByte(address, '%'); i >= 0 {
		domains = append(domains, address[i+1:])
	}
	return domains
}

// skipClosed consumes a quoted string or a comment, if there is one at the position. It reports whether it did. After one that is not closed
// it consumes none: quotes and parentheses are text then.
func (p *scanner) skipClosed() bool {
	c := p.peek()
	if p.open || c != '"' && c != '(' {
		return false
	}
	q := scanner{s: p.s, pos: p.pos}
	if c == '"' {
		q.quotedString()
	} else {
		q.comment()
	}
	if p.open = q.fault != nil; p.open {
		return false
	}
	p.pos = q.pos
	return true
}
