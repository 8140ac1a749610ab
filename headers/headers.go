// Package headers parses what RFC 5322 and RFC 5321 define: date-time, msg-id, mailbox list, reverse-path, forward-path,
// domain name, address literal, and the lines of a header field.
//
// Every parser is a pure function: no clock, no state, safe for concurrent use, linear in the length of its argument, and
// without allocation on ordinary well-formed input. A parser that refuses returns a *SyntaxError, which says where the
// first fault is and what it is, in words for the person who runs the sending host. Whatever a parser returns besides is
// remote text: results are substrings or unquoted copies of the argument, so quote them before they go into a log or a reply.
package headers

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxLine is the longest line RFC 5322 section 2.1.1 permits, in octets without CRLF.
const MaxLine = 998

// Field is one header field as the MTA hands it to a milter. The zero value is a field without a name, which CheckField
// refuses.
type Field struct {
	// Name is the field name as typed. Spaces between name and colon, which RFC 5322 section 4.5 permits in old messages,
	// may still be at its end.
	Name string
	// Value is everything after the colon: the leading space and the folding are in it. A milter sees a fold as "\n"
	// followed by white space, a message file has "\r\n" there; all parsers take both.
	Value string
}

// Is reports whether f is the field called name. Case does not matter (RFC 5322 section 1.2.2 by way of RFC 5234), nor does
// white space before the colon (RFC 5322 section 4.5), so that "From :" cannot hide from a check that looks for "From".
func (f Field) Is(name string) bool {
	if len(f.Name) < len(name) || name != "" && (f.Name[0]^name[0])&^('a'^'A') != 0 {
		return false // by far the most: each field is compared with many names
	}
	return strings.EqualFold(f.Name[:len(name)], name) && strings.Trim(f.Name[len(name):], " \t") == ""
}

// SyntaxError is the first fault of a text. All parsers of this package return it, as a pointer. The zero value is not
// used.
type SyntaxError struct {
	// Pos is the number of octets before the fault: an index into the parser's argument, or its length when something is
	// missing at the end.
	Pos int
	// Cause is what is wrong, in printable US-ASCII of at most 160 octets. Text taken from the argument is quoted and
	// shortened, so it cannot forge a log line or break a reply.
	Cause string
	// Lax tells a fault that honest hosts are known for and that leaves the value usable. Each parser lists its lax
	// faults; one that lists none never sets it. It is set only if there is no other fault.
	Lax bool
}

// Error gives position and cause, as in "octet 17: hour 25 is over 23". Octets are counted from 1, as people do.
func (e *SyntaxError) Error() string {
	return "octet " + strconv.Itoa(e.Pos+1) + ": " + e.Cause
}

// CheckField returns a *SyntaxError if f cannot stand in a message: the name is empty or has an octet other than printable
// US-ASCII without colon (RFC 5322 section 2.2), or there is a NUL or a CR without LF anywhere (sections 2.2 and 2.3; the
// obsolete syntax of section 4 once let them in, and both are used to make two programs see two different messages).
// Positions count through name, colon and value as one line. 8-bit octets in the value pass: see Has8bit.
func CheckField(f Field) error {
	// RFC 5322 section 4.5: old messages may have white space before the colon.
	name := strings.TrimRight(f.Name, " \t")
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

// LongestLine returns the length of the longest line of f as it stands in the message, in octets without CRLF. Name and
// colon belong to the first line. A result over MaxLine breaks RFC 5322 section 2.1.1.
func LongestLine(f Field) int {
	longest, before, rest := 0, len(f.Name)+1, f.Value
	for {
		line, after, folded := strings.Cut(rest, "\n")
		longest = max(longest, before+len(strings.TrimSuffix(line, "\r")))
		if !folded {
			return longest
		}
		before, rest = 0, after
	}
}

// Has8bit reports whether name or value of f has an octet over 127. Such a field is legal only in a message sent with
// SMTPUTF8 (RFC 6532 section 3), and there only as UTF-8.
func Has8bit(f Field) bool {
	return index8bit(f.Name) >= 0 || index8bit(f.Value) >= 0
}

// index8bit returns the index of the first octet over 127, or -1.
func index8bit(s string) int {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return i
		}
	}
	return -1
}

// fault makes a SyntaxError. Arguments that come from remote text must have gone through quote or short.
func fault(pos int, format string, args ...any) *SyntaxError {
	return &SyntaxError{Pos: pos, Cause: fmt.Sprintf(format, args...)}
}

// shown is the most octets of remote text that a Cause quotes. Quoting can make four octets of one.
const shown = 24

// quote makes remote text safe to show: printable US-ASCII between double quotes, shortened.
func quote(s string) string {
	return strconv.QuoteToASCII(short(s))
}

// quoteAt quotes the character that begins at s[i], which is less than len(s).
func quoteAt(s string, i int) string {
	_, size := utf8.DecodeRuneInString(s[i:])
	return quote(s[i : i+size])
}

// short cuts s to a length that fits an error text.
func short(s string) string {
	if len(s) <= shown {
		return s
	}
	end := shown
	for end > shown-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}
