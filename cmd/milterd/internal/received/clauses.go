package received

import (
	"net/netip"
	"slices"
	"strings"
)

// clauses are the parts of a Received field, by the word that begins them. The key "invoked" stands for a comment without any:
// "(qmail 123 invoked by uid 0)", "(from root@localhost)".
type clauses map[string]*clause

type clause struct{ words, comments []string }

// words are those of a clause; none if there is no such clause.
func (c clauses) words(name string) []string {
	if cl := c[name]; cl != nil {
		return cl.words
	}
	return nil
}

// word is the first of them.
func (c clauses) word(name string) string {
	if words := c.words(name); len(words) > 0 {
		return words[0]
	}
	return ""
}

// comments are those of a clause.
func (c clauses) comments(name string) []string {
	if cl := c[name]; cl != nil {
		return cl.comments
	}
	return nil
}

// by tells whether the host says that it runs a program.
func (c clauses) by(program string) bool {
	begins := func(text string) bool { return strings.HasPrefix(text, program) }
	return slices.ContainsFunc(c.comments("by"), begins) || slices.ContainsFunc(c.comments("with"), begins)
}

// split takes a Received field apart: clauses up to the last semicolon, the date after it.
func split(value string) (c clauses, date string) {
	c = clauses{}
	var open *clause // nil: before the first clause
	pos, dateAt := 0, -1
	for {
		kind, text, next := token(value, pos)
		pos = next
		switch kind {
		case endOfText:
			if dateAt >= 0 {
				date = value[dateAt:]
			}
			return c, date
		case semicolon:
			dateAt = pos
			open = nil
		case comment:
			if open == nil && dateAt < 0 {
				c["invoked"] = &clause{}
			}
			if open != nil {
				open.comments = append(open.comments, text)
			}
		case word:
			key := strings.ToLower(text)
			if dateAt < 0 && isKeyword(key) && c[key] == nil && (open == nil || len(open.words)+len(open.comments) > 0) {
				open = &clause{}
				c[key] = open
			} else if open != nil {
				open.words = append(open.words, text)
			}
		}
	}
}

func isKeyword(s string) bool {
	switch s {
	case "from", "by", "via", "with", "id", "for":
		return true
	}
	return false
}

// kind is what a token is.
type kind uint8

const (
	endOfText kind = iota
	word
	comment // its text without the parentheses
	semicolon
)

// token reads the token at or after pos. A comment that is not closed ends with the text.
func token(s string, pos int) (k kind, text string, next int) {
	for pos < len(s) && isSpace(s[pos]) {
		pos++
	}
	if pos == len(s) {
		return endOfText, "", pos
	}
	switch s[pos] {
	case ';':
		return semicolon, ";", pos + 1
	case '(':
		end := commentEnd(s, pos)
		return comment, strings.TrimSpace(strings.TrimSuffix(s[pos+1:end], ")")), end
	}
	end := pos + 1
	for end < len(s) && !isSpace(s[end]) && s[end] != '(' && s[end] != ';' {
		end++
	}
	return word, s[pos:end], end
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// commentEnd is the place after the comment that begins at pos. Comments nest, RFC 5322 section 3.2.2.
func commentEnd(s string, pos int) int {
	depth := 0
	for ; pos < len(s); pos++ {
		switch s[pos] {
		case '\\':
			pos++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return pos + 1
			}
		}
	}
	return len(s)
}

// tcpInfo is what a comment of the from clause says of the client.
type tcpInfo struct {
	addr      netip.Addr
	bracketed bool
	name      string
	helo      string
	hasHelo   bool
}

// parseTCPInfo reads a comment: "name [192.0.2.9]", "name[192.0.2.9]", "[192.0.2.9]:25 helo=name ident=x", "user@192.0.2.9",
// "192.0.2.9", "HELO name", and others that say nothing about the client.
func parseTCPInfo(text string) tcpInfo {
	var i tcpInfo
	words := strings.Fields(text)
	if len(words) > 0 && (strings.EqualFold(words[0], "HELO") || strings.EqualFold(words[0], "EHLO")) {
		i.hasHelo = true
		if len(words) > 1 {
			i.helo = words[1]
		}
		return i
	}
	for n, w := range words {
		if helo, ok := strings.CutPrefix(w, "helo="); ok {
			i.helo, i.hasHelo = helo, true
			continue
		}
		if i.addr.IsValid() {
			continue
		}
		if open := strings.IndexByte(w, '['); open >= 0 {
			i.addr = parseAddr(w[open:], true)
			i.bracketed = i.addr.IsValid()
			if open > 0 {
				i.name = w[:open]
			}
		} else if n == 0 {
			// qmail's ident result may stand before an @.
			i.name = w[strings.LastIndexByte(w, '@')+1:]
			if i.addr = parseAddr(i.name, false); i.addr.IsValid() {
				i.name = ""
			}
		}
	}
	if !i.addr.IsValid() {
		i.name = ""
	}
	return i
}

// parseAddr reads an address, as it is or as an address literal in brackets, after which a port may follow.
func parseAddr(s string, brackets bool) netip.Addr {
	if brackets {
		rest, ok := strings.CutPrefix(s, "[")
		end := strings.IndexByte(rest, ']')
		if !ok || end < 0 {
			return netip.Addr{}
		}
		s = rest[:end]
	}
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		s = s[5:]
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}
