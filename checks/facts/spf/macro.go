package spf

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// macro is a macro-expand of section 7.1, such as "%{d2r-}", or the literal text before the next one.
type macro struct {
	literal string // if letter is 0
	letter  byte   // lower case
	escape  bool   // the letter is in upper case: the value is URL-escaped
	keep    int    // number of right-hand parts to keep; 0: all
	reverse bool
	delims  string // characters that split the value into parts; never empty
}

// Macro letters, section 7.2.
const (
	nameLetters = "slodiphv"          // in a domain-spec
	textLetters = nameLetters + "crt" // in an explanation
)

const (
	// maxParts caps the number of parts to keep. Section 7.1 requires at least 127, and no domain name has more labels.
	maxParts = 128
	// maxMacros is the number of macros and literals that are expanded in one macro-string. Half of it would be enough for
	// any name; a hostile record can have thousands.
	maxMacros = 200
)

// nextMacro splits the first literal or macro off a macro-string, which must not be empty. It does not check the bytes of
// literals.
func nextMacro(s string) (m macro, rest string, err error) {
	if s[0] != '%' {
		end := strings.IndexByte(s, '%')
		if end < 0 {
			end = len(s)
		}
		return macro{literal: s[:end]}, s[end:], nil
	}
	if len(s) > 1 {
		switch s[1] {
		case '%':
			return macro{literal: "%"}, s[2:], nil
		case '_':
			return macro{literal: " "}, s[2:], nil
		case '-':
			return macro{literal: "%20"}, s[2:], nil
		case '{':
			body, rest, closed := strings.Cut(s[2:], "}")
			if !closed {
				return m, "", errors.New("a macro without its closing brace")
			}
			m, err := parseMacro(body)
			return m, rest, err
		}
	}
	return m, "", errors.New("a % that begins no macro")
}

// macroForm is what stands between the braces: macro-letter transformers *delimiter.
var macroForm = regexp.MustCompile(`^([` + textLetters + strings.ToUpper(textLetters) + `])([0-9]*)([rR]?)([-.+,/_=]*)$`)

func parseMacro(body string) (macro, error) {
	parts := macroForm.FindStringSubmatch(body)
	if parts == nil || parts[2] != "" && strings.Trim(parts[2], "0") == "" {
		return macro{}, fmt.Errorf("%%{%s} is no macro", body)
	}
	keep, _ := strconv.Atoi(parts[2]) // the greatest int if there are too many digits
	return macro{
		letter: parts[1][0] | 0x20, escape: parts[1][0] < 'a',
		keep: min(keep, maxParts), reverse: parts[3] != "", delims: cmp.Or(parts[4], "."),
	}, nil
}

// hasMacro reports whether a well-formed macro-string has a macro with one of some letters, section 7.2.
func hasMacro(s, letters string) bool {
	for s != "" {
		m, rest, err := nextMacro(s)
		if err != nil {
			return false
		}
		if strings.IndexByte(letters, m.letter) >= 0 {
			return true
		}
		s = rest
	}
	return false
}

// checkMacros returns an error if a macro-string is malformed or has a macro whose letter is not in letters. tail is the
// number of bytes after the last macro.
func checkMacros(s, letters string) (tail int, err error) {
	for s != "" {
		m, rest, err := nextMacro(s)
		if err != nil {
			return 0, err
		}
		if m.letter != 0 && strings.IndexByte(letters, m.letter) < 0 {
			return 0, fmt.Errorf("%%{%c} is for explanations only", m.letter)
		}
		tail = 0
		if s[0] != '%' {
			tail = len(m.literal)
		}
		s = rest
	}
	return tail, nil
}

// errTooLong is the error of expand that comes with a truncated text.
var errTooLong = errors.New("macros expand to too much")

// expand expands a macro-string for which checkMacros returns no error to at most limit bytes. value returns the value of a letter.
func expand(s string, limit int, value func(letter byte) string) (string, error) {
	if strings.IndexByte(s, '%') < 0 {
		return s[:min(len(s), limit)], nil
	}
	var b strings.Builder
	for n := 0; s != ""; n++ {
		m, rest, err := nextMacro(s)
		if err != nil {
			return "", err
		}
		if n == maxMacros {
			return b.String(), errTooLong
		}
		if m.letter == 0 {
			b.WriteString(m.literal)
		} else {
			b.WriteString(m.transform(value(m.letter)))
		}
		if b.Len() > limit {
			return b.String()[:limit], errTooLong
		}
		s = rest
	}
	return b.String(), nil
}

// transform applies the transformers of a macro, section 7.3. Empty parts count: "a..b" has three parts.
func (m macro) transform(value string) string {
	if m.keep > 0 || m.reverse || m.delims != "." {
		parts := splitAny(value, m.delims)
		if m.reverse {
			slices.Reverse(parts)
		}
		if m.keep > 0 && m.keep < len(parts) {
			parts = parts[len(parts)-m.keep:]
		}
		value = strings.Join(parts, ".")
	}
	if m.escape {
		value = strings.ReplaceAll(url.QueryEscape(value), "+", "%20") // keeps the unreserved bytes of RFC 3986 section 2.3
	}
	return value
}

func splitAny(value, delims string) []string {
	var parts []string
	for {
		i := strings.IndexAny(value, delims)
		if i < 0 {
			return append(parts, value)
		}
		parts = append(parts, value[:i])
		value = value[i+1:]
	}
}
