package milter

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"milterd/checks"
	"milterd/headers"
)

const resultsField = "Authentication-Results"

// ownResults reports whether an Authentication-Results field has our authserv-id. It accepts what a lenient reader of
// such fields might accept: comments, quotes and other bytes before the id, any text after it, and encoded-words, which some
// readers decode (RFC 8601 sections 2.2 and 5).
func ownResults(value, id string) bool {
	return beginsWithID(value, id) || beginsWithID(headers.DecodeWords(value), id)
}

// mayHaveULabels reports whether ownResults converts the value to A-labels: it is not US-ASCII, or may have encoded-words.
func mayHaveULabels(value string) bool {
	return !headers.IsASCII(value) || strings.Contains(value, "=?")
}

// beginsWithID reports whether the first word of a text that is not in a comment is an id.
func beginsWithID(text, id string) bool {
	skip := func() { text = strings.TrimLeftFunc(text, func(c rune) bool { return c != '(' && !isNameRune(c) }) }
	for skip(); strings.HasPrefix(text, "("); skip() {
		text = text[headers.CommentEnd(text):]
	}
	if sameDomain(text, id) {
		return true
	}
	text = strings.ReplaceAll(text[:min(len(text), 2*len(id)+8)], `\`, "") // each byte may be a quoted-pair
	if len(text) < len(id) || !strings.EqualFold(text[:len(id)], id) {
		return false
	}
	after, _ := utf8.DecodeRuneInString(strings.TrimPrefix(text[len(id):], "."))
	return !isNameRune(after)
}

// maxWord is the length of a word that may be a domain with U-labels, in bytes: 253 characters of the longest. A longer word would take
// long to convert.
const maxWord = 253 * utf8.UTFMax

// sameDomain reports whether a text begins with an id that has U-labels or the dots of another script (RFC 8601 section 2.5, RFC 3490
// section 3.1).
func sameDomain(text, id string) bool {
	word := text[:min(len(text), maxWord)]
	isEnd := func(c rune) bool {
		return !isNameRune(c) && !unicode.IsMark(c) && !strings.ContainsRune(".\u3002\uff0e\uff61", c)
	}
	if end := strings.IndexFunc(word, isEnd); end >= 0 {
		word = word[:end]
	}
	return !headers.IsASCII(word) && checks.SameName(checks.ToALabels(word), id)
}

// isNameRune reports whether a character may be in a domain name.
func isNameRune(c rune) bool {
	return c == '-' || c == '_' || unicode.IsLetter(c) || unicode.IsDigit(c)
}

// traceFields appends the packets that insert our own fields. A message of a trusted client receives none.
func (s *session) traceFields(ctx context.Context, to []byte) []byte {
	want := s.pipeline.TraceFields()
	if !want.Any() || s.run.Request().Trusted() {
		return to
	}
	results := s.run.Authenticate(ctx)
	if want.ReceivedSPF {
		if line := receivedSPF(&s.Session, want.AuthServID, results); line != "" {
			to = s.appendChange(to, insertField, 0, "Received-SPF", line)
		}
	}
	if want.AuthenticationResults {
		to = s.appendChange(to, insertField, 0, resultsField, authenticationResults(want.AuthServID, results))
	}
	return to
}

// authenticationResults returns the value of the field, RFC 8601 section 2.2, with one result on each line.
func authenticationResults(id string, results []checks.Authentication) string {
	if len(results) == 0 {
		return id + "; none"
	}
	results = slices.Clone(results)
	slices.SortStableFunc(results, func(a, b checks.Authentication) int {
		return slices.Index(methods, a.Method) - slices.Index(methods, b.Method)
	})
	var text strings.Builder
	text.WriteString(id)
	for _, r := range results {
		line := ";\n\t" + r.Method + "=" + r.Result
		if comment := safeComment(r.Comment); comment != "" {
			line += " (" + comment + ")"
		}
		for _, p := range r.Properties {
			value, ok := safeValue(p.Value)
			if !ok {
				continue
			}
			if property := " " + p.Name + "=" + value; len(line)+len(property) <= headers.MaxLine {
				line += property
			}
		}
		text.WriteString(line)
	}
	return text.String()
}

// methods has the methods in the order of the field.
var methods = []string{"spf", "iprev", "dkim", "dmarc"}

// Lengths in bytes.
const (
	maxProperty = 255 // of a value that is written; a domain name is not longer
	maxComment  = 200 // of a comment
)

// safeValue returns a value as a token, or quoted (RFC 2045 section 5.1). ok is false if it should be left out: it is
// empty, too long, or has bytes other than those of domains, addresses and base64. Some readers split the field at any
// semicolon, quoted or not.
func safeValue(value string) (text string, ok bool) {
	quoted := false
	for i := range len(value) {
		switch c := value[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.IndexByte("-._+", c) >= 0:
		case strings.IndexByte(":/=", c) >= 0:
			quoted = true
		default:
			return "", false
		}
	}
	if quoted {
		value = `"` + value + `"`
	}
	return value, value != "" && len(value) <= maxProperty
}

// safeComment returns the text of a comment, RFC 5322 section 3.2.2, without what would end it or begin another result.
func safeComment(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || strings.ContainsRune(`()\;"`, c) {
			return -1
		}
		return c
	}, text[:min(len(text), maxComment)])
}

// receivedSPF returns the value of the field, RFC 7208 section 9.1, or "" without an SPF result.
func receivedSPF(s *checks.Session, receiver string, results []checks.Authentication) string {
	i := slices.IndexFunc(results, func(r checks.Authentication) bool { return r.Method == "spf" })
	if i < 0 {
		return ""
	}
	identity := "mailfrom"
	if slices.ContainsFunc(results[i].Properties, func(p checks.Property) bool { return p.Name == "smtp.helo" }) {
		identity = "helo"
	}
	quote := func(text string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(checks.Clean(text, maxProperty)) + `"`
	}
	return fmt.Sprintf("%s\n\treceiver=%s; identity=%s;\n\tclient-ip=%s;\n\tenvelope-from=%s;\n\thelo=%s",
		cmp.Or(results[i].Result, "none"), receiver, identity, s.Client, quote(s.Envelope.MailFrom.Text), quote(s.Helo))
}
