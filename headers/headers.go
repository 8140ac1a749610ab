// Package headers parses what RFC 5322 and RFC 5321 define: date-time, msg-id, mailbox list, reverse-path, domain name,
// address literal, and the lines of a header field.
//
// All parsers are pure functions. They are safe for concurrent use and linear in the length of the argument. They do not
// allocate on ordinary well-formed input, apart from the results of ParseMailboxList. A parser that refuses its argument
// returns a *SyntaxError, which has the position of the first fault and describes it for the administrator of the sending
// host. Other results are remote text: quote them before they go into a log or a reply.
//
// The package uses the standard library only. Package checks and the checks build on it. Start reading with SyntaxError,
// then scan.go, which has the lexical rules that the parsers share.
package headers

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxLine is the longest line that RFC 5322 section 2.1.1 permits, in octets without CRLF.
const MaxLine = 998

// Field is one header field, as a milter receives it. The zero value has no name, which CheckField refuses.
type Field struct {
	// Name is the field name as the client sent it. White space before the colon, which RFC 5322 section 4.5 permits in
	// old messages, may be at its end.
	Name string
	// Value is everything after the colon, including the leading space and the folding. A milter receives a fold as "\n"
	// and white space; a message file has "\r\n" there. All parsers accept both.
	Value string
}

// Is reports whether f has the field name name. It ignores case (RFC 5322 section 1.2.2) and white space before the colon
// (section 4.5), so "From :" is a From field.
func (f Field) Is(name string) bool {
	return len(f.Name) >= len(name) && strings.EqualFold(f.Name[:len(name)], name) &&
		strings.Trim(f.Name[len(name):], " \t") == ""
}

// IsEmpty reports whether the value of f is white space at most.
func (f Field) IsEmpty() bool { return strings.Trim(f.Value, " \t\r\n") == "" }

// First returns the first field with the given name whose value is not empty, or else the first one with that name. Programs read this
// field if there are several. ok is false if there is none.
func First(fields []Field, name string) (first Field, ok bool) {
	for _, f := range fields {
		switch {
		case !f.Is(name):
		case !f.IsEmpty():
			return f, true
		case !ok:
			first, ok = f, true
		}
	}
	return first, ok
}

// SyntaxError is the first fault of a text. Every parser of this package returns it as a pointer.
type SyntaxError struct {
	// Pos is the index of the fault in the parser's argument, or the length of the argument if something is missing at its
	// end.
	Pos int
	// Cause describes the fault in at most 160 bytes of printable US-ASCII. Text from the argument is quoted and shortened
	// in it, so Cause can go into a log or a reply.
	Cause string
	// Lax marks a fault that wanted mail has and that leaves the value usable. Every parser lists its lax faults. It is
	// set only if there is no other fault.
	Lax bool
}

// Error returns position and cause, for example "octet 17: hour 25 is over 23". The first octet has the number 1.
func (e *SyntaxError) Error() string {
	return "octet " + strconv.Itoa(e.Pos+1) + ": " + e.Cause
}

// CheckField returns a *SyntaxError if f must not be in a message: the name is empty or has an octet other than printable
// US-ASCII without the colon (RFC 5322 section 2.2), or name or value has a NUL or a CR without LF (sections 2.2 and 2.3).
// The obsolete syntax of section 4 permits those two, but they make two programs see two different messages.
//
// Pos counts through name, colon and value as one line. 8-bit octets in the value are no fault, see Has8bit.
func CheckField(f Field) error {
	name := strings.TrimRight(f.Name, " \t") // RFC 5322 section 4.5
	if name == "" {
		return &SyntaxError{Cause: "field name is empty"}
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == ':' {
			return fault(i, "%s is not allowed in a field name", quoteAt(name, i))
		}
	}
	for i := range len(f.Value) {
		switch f.Value[i] {
		case 0:
			return fault(len(f.Name)+1+i, "NUL in the field %s", quote(name))
		case '\r':
			if i+1 == len(f.Value) || f.Value[i+1] != '\n' {
				return fault(len(f.Name)+1+i, "CR without LF in the field %s", quote(name))
			}
		}
	}
	return nil
}

// LongestLine returns the length of the longest line of f in the message, in octets without CRLF. Name and colon belong to
// the first line.
func LongestLine(f Field) int {
	longest, before := 0, len(f.Name)+len(":")
	for line := range strings.SplitSeq(f.Value, "\n") {
		longest = max(longest, before+len(strings.TrimSuffix(line, "\r")))
		before = 0
	}
	return longest
}

// Has8bit reports whether the name or the value of f has an octet over 127. Such a field is legal only in a message that
// was sent with SMTPUTF8 (RFC 6532 section 3), and only as UTF-8.
func Has8bit(f Field) bool {
	return !IsASCII(f.Name) || !IsASCII(f.Value)
}

// CommentEnd returns the index after the comment at the beginning of s, RFC 5322 section 3.2.2. Comments may be nested.
// It returns len(s) if the comment is not closed.
func CommentEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// IsASCII reports whether a text has no octet over 127.
func IsASCII(s string) bool { return index8bit(s) < 0 }

// index8bit returns the index of the first octet over 127, or -1.
func index8bit(s string) int {
	return strings.IndexFunc(s, func(c rune) bool { return c >= utf8.RuneSelf })
}

// fault returns a SyntaxError. Arguments that are remote text must have passed quote or short.
func fault(pos int, format string, args ...any) *SyntaxError {
	return &SyntaxError{Pos: pos, Cause: fmt.Sprintf(format, args...)}
}

// maxShown is the number of bytes of remote text that a Cause shows. Quoting makes up to four bytes of one.
const maxShown = 24

// quote returns remote text as printable US-ASCII between double quotes, shortened.
func quote(s string) string {
	return strconv.QuoteToASCII(short(s))
}

// quoteAt quotes the character that begins at s[i]. i must be less than len(s).
func quoteAt(s string, i int) string {
	_, size := utf8.DecodeRuneInString(s[i:])
	return quote(s[i : i+size])
}

// short cuts s to maxShown bytes, between two characters.
func short(s string) string {
	if len(s) <= maxShown {
		return s
	}
	end := maxShown
	for end > maxShown-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}
