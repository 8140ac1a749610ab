package headers

import (
	"iter"
	"strings"
)

// readMailboxes reads the addresses of a From field as mail programs do: those in angle brackets and the list elements beside them,
// or if there are no brackets, the words with an "@". ok is false if there is neither an address, perhaps in encoded-words, nor one word
// in its place.
func readMailboxes(value string) (found []Mailbox, ok bool) {
	found, word, brackets := inBrackets(value, true)
	if len(found) == 0 {
		found, word, brackets = inBrackets(value, false)
	}
	switch {
	case len(found) > 0:
		return found, true
	case brackets && !word:
		return nil, false
	}
	found = bareAddresses(value)
	return found, len(found) > 0 || word || isOneWord(value) || hasEncodedAddress(value)
}

// hasEncodedAddress reports whether there is an address if encoded-words are decoded. Some programs encode the whole field, and a long one
// becomes several encoded-words. If one of them is malformed, other programs may decode more, and show another address.
func hasEncodedAddress(value string) bool {
	if !strings.Contains(value, "=?") {
		return false
	}
	for word := range strings.FieldsSeq(value) {
		if !strings.Contains(word, "=?") {
			continue
		}
		if decoded, err := wordDecoder.DecodeHeader(word); err != nil || decoded == word {
			return false
		}
	}
	decoded := DecodeWords(value)
	found, _, _ := inBrackets(decoded, false)
	return len(found) > 0 || len(bareAddresses(decoded)) > 0
}

// inBrackets returns the addresses in angle brackets, and the addresses that are list elements beside them. If skip is true,
// brackets in quoted strings and comments do not count; a quote or parenthesis that is not closed is text. brackets reports
// whether there are any brackets, and word whether one of them has one word in it.
func inBrackets(value string, skip bool) (found []Mailbox, word, brackets bool) {
	p := scanner{s: value, open: !skip}
	var squeezed []Mailbox // addresses with white space in them; they count only beside others
	name := 0              // start of the text before the bracket
	for p.pos < len(value) {
		if p.skipClosed() {
			continue
		}
		if value[p.pos] != '<' {
			p.pos++
			continue
		}
		brackets = true
		before := value[name:p.pos]
		p.pos++
		inner := p.take(func(c byte) bool { return c != '<' && c != '>' })
		found = append(found, elements(before)...)
		if m, ok := usableAddress(inner); ok {
			m.Name = strings.Trim(before, " \t\r\n\",;<>")
			found = append(found, m)
		} else if text := strings.Trim(strings.Join(strings.Fields(inner), ""), `,;"'`); text != inner {
			if m, ok := usableAddress(text); ok {
				squeezed = append(squeezed, m)
			}
		}
		word = word || isOneWord(inner)
		name = p.pos
	}
	if i := strings.IndexAny(value[name:], ",;"); brackets && i >= 0 {
		found = append(found, elements(value[name+i:]+",")...)
	}
	if len(found) > 0 {
		found = append(found, squeezed...)
	}
	return found, word, brackets
}

// elements returns the elements of a list, each with a comma or semicolon after it, that are addresses.
func elements(list string) (found []Mailbox) {
	for element, last := range ListElements(list) {
		if m, ok := usableAddress(element); ok && !last {
			found = append(found, m)
		}
	}
	return found
}

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

// bareAddresses returns the words that are addresses.
func bareAddresses(value string) (found []Mailbox) {
	for word := range strings.FieldsFuncSeq(value, func(c rune) bool { return c <= ' ' || strings.ContainsRune(`,;:"'()<>`, c) }) {
		if m, ok := usableAddress(strings.TrimRight(word, ".")); ok {
			found = append(found, m)
		}
	}
	return found
}

// usableAddress parses an address, perhaps with a route. It may have stray dots. Those of the domain are left out, as the author
// meant the domain without them.
func usableAddress(s string) (Mailbox, bool) {
	if !strings.Contains(s, "@") { // without this, a hostile field of 100 KB could take 0.3 s: each parser that fails formats its fault
		return Mailbox{}, false
	}
	p := mailboxParser{scanner: scanner{s: s}, strayDots: true}
	p.cfws()
	if p.peek() == '@' {
		p.route()
	}
	w := p.words(true)
	p.addrSpec(w, "")
	if p.fault != nil || p.peek() != end || w.count == 0 {
		return Mailbox{}, false
	}
	m := p.found[0]
	if !strings.HasPrefix(m.Domain, "[") {
		labels := strings.FieldsFunc(m.Domain, func(c rune) bool { return c == '.' })
		m.Domain = strings.Join(labels, ".")
	}
	return m, m.Domain != ""
}

// isOneWord reports whether s is one word or several with dots between them, without white space: "root".
func isOneWord(s string) bool {
	p := scanner{s: s}
	w := p.words(true)
	return p.fault == nil && p.peek() == end && w.count > 0 && w.adjacent < 0 && !strings.ContainsAny(s[w.start:w.end], " \t\r\n")
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
		beginning := p.take(func(c byte) bool { return c == '.' || isAtext(c) })
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
