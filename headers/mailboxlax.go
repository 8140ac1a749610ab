package headers

import "strings"

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
