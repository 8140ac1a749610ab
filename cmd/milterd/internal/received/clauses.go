package received

import (
	"iter"
	"slices"
	"strings"

	"milterd/headers"
)

// clauses are the parts of a Received field, by the word that starts them, such as "from". The key "invoked" stands for a
// comment before the first part: "(qmail 123 invoked by uid 0)", "(from root@localhost)".
type clauses map[string]*clause

// clause is the words after the one that starts it, and the comments without parentheses.
type clause struct{ words, comments []string }

// clause returns a clause, which is empty if there is no such one.
func (c clauses) clause(name string) clause {
	if cl := c[name]; cl != nil {
		return *cl
	}
	return clause{}
}

// word returns the first of the words of a clause.
func (c clauses) word(name string) string {
	if words := c.clause(name).words; len(words) > 0 {
		return words[0]
	}
	return ""
}

// isExim reports whether a comment says that Exim added the field.
func (c clauses) isExim() bool {
	comments := slices.Concat(c.clause("by").comments, c.clause("with").comments)
	return slices.ContainsFunc(comments, func(text string) bool { return strings.HasPrefix(text, "Exim") })
}

// splitClauses splits the value of a Received field into its clauses and the date after the last semicolon.
func splitClauses(value string) (c clauses, date string) {
	c = clauses{}
	var current *clause // nil before the first and after a semicolon
	dated := false
	for t := range tokens(value) {
		switch t.kind {
		case semicolon:
			date, dated, current = value[t.end:], true, nil
		case comment:
			if current != nil {
				current.comments = append(current.comments, t.text)
			} else if !dated {
				c["invoked"] = &clause{}
			}
		case word:
			key := strings.ToLower(t.text)
			// A client may have the HELO name "by".
			if !dated && slices.Contains(keywords, key) && c[key] == nil && (current == nil || len(current.words)+len(current.comments) > 0) {
				current = &clause{}
				c[key] = current
			} else if current != nil {
				current.words = append(current.words, t.text)
			}
		}
	}
	return c, date
}

// keywords are the words that start a clause.
var keywords = []string{"from", "by", "via", "with", "id", "for"}

// kind is the kind of a token.
type kind uint8

const (
	word kind = iota
	comment
	semicolon
)

// token is a part of the value of a field.
type token struct {
	kind kind
	text string // of a comment, without parentheses
	end  int    // the position after it
}

// tokens yields the tokens of a value. A comment without end goes on to the end of the value.
func tokens(s string) iter.Seq[token] {
	return func(yield func(token) bool) {
		for pos := 0; pos < len(s); {
			t := token{end: pos + 1}
			switch c := s[pos]; {
			case isSpace(c):
				pos++
				continue
			case c == ';':
				t.kind = semicolon
			case c == '(':
				t.kind, t.end = comment, pos+headers.CommentEnd(s[pos:])
				t.text = strings.TrimSpace(strings.TrimSuffix(s[pos+1:t.end], ")"))
			default:
				for t.end < len(s) && !isSpace(s[t.end]) && s[t.end] != '(' && s[t.end] != ';' {
					t.end++
				}
				t.text = s[pos:t.end]
			}
			if !yield(t) {
				return
			}
			pos = t.end
		}
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
