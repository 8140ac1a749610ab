package received

import (
	"slices"
	"strings"

	"milterd/headers"
)

// clauses are the parts of a Received field, by the word that starts them, such as "from". The key "invoked" stands for a
// comment before the first part: "(qmail 123 invoked by uid 0)", "(from root@localhost)".
type clauses map[string]*clause

type clause struct{ words, comments []string }

// words returns the words of a clause after the one that starts it, or nil if there is no such clause.
func (c clauses) words(name string) []string {
	if cl := c[name]; cl != nil {
		return cl.words
	}
	return nil
}

// word returns the first of the words of a clause.
func (c clauses) word(name string) string {
	if words := c.words(name); len(words) > 0 {
		return words[0]
	}
	return ""
}

// comments returns the comments of a clause, without parentheses.
func (c clauses) comments(name string) []string {
	if cl := c[name]; cl != nil {
		return cl.comments
	}
	return nil
}

// isBy reports whether a comment says that this program added the field.
func (c clauses) isBy(program string) bool {
	names := func(comment string) bool { return strings.HasPrefix(comment, program) }
	return slices.ContainsFunc(c.comments("by"), names) || slices.ContainsFunc(c.comments("with"), names)
}

// splitClauses splits the value of a Received field into its clauses and the date after the last semicolon.
func splitClauses(value string) (c clauses, date string) {
	c = clauses{}
	var current *clause // nil before the first
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
			current = nil
		case comment:
			if current == nil && dateAt < 0 {
				c["invoked"] = &clause{}
			}
			if current != nil {
				current.comments = append(current.comments, text)
			}
		case word:
			key := strings.ToLower(text)
			// A client may have the HELO name "by".
			if dateAt < 0 && isKeyword(key) && c[key] == nil && (current == nil || len(current.words)+len(current.comments) > 0) {
				current = &clause{}
				c[key] = current
			} else if current != nil {
				current.words = append(current.words, text)
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

// kind is the kind of a token.
type kind uint8

const (
	endOfText kind = iota
	word
	comment // without parentheses
	semicolon
)

// token returns the token at or after pos, and the position after it. A comment without end goes on to the
// end of the text.
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
		end := pos + headers.CommentEnd(s[pos:])
		return comment, strings.TrimSpace(strings.TrimSuffix(s[pos+1:end], ")")), end
	}
	end := pos + 1
	for end < len(s) && !isSpace(s[end]) && s[end] != '(' && s[end] != ';' {
		end++
	}
	return word, s[pos:end], end
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
