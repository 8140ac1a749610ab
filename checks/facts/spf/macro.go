package spf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// spfMacro is one macro-expand of RFC 7208 section 7.1, "%{d2r-}", or the literal text before the next one.
type spfMacro struct {
	literal string // if letter is 0
	letter  byte   // lower case
	escape  bool   // the letter stood in upper case: the value is URL-escaped
	keep    int    // how many of the right-hand parts are kept; 0 keeps all
	reverse bool
	delims  string // what splits the value into parts; never empty
}

// Letters of macros, RFC 7208 section 7.2: those of a domain-spec, and those of an explanation.
const (
	spfNameLetters = "slodiphv"
	spfTextLetters = spfNameLetters + "crt"
)

// spfMaxParts is the most parts worth counting: RFC 7208 section 7.1 asks for support of 127 at least, and no domain
// name has more.
const spfMaxParts = 128

// nextSPFMacro takes the first literal or macro off a macro-string that is not empty. The octets of literals are not
// looked at.
func nextSPFMacro(s string) (m spfMacro, rest string, err error) {
	if s[0] != '%' {
		end := strings.IndexByte(s, '%')
		if end < 0 {
			end = len(s)
		}
		return spfMacro{literal: s[:end]}, s[end:], nil
	}
	if len(s) > 1 {
		switch s[1] {
		case '%':
			return spfMacro{literal: "%"}, s[2:], nil
		case '_':
			return spfMacro{literal: " "}, s[2:], nil
		case '-':
			return spfMacro{literal: "%20"}, s[2:], nil
		case '{':
			body, rest, closed := strings.Cut(s[2:], "}")
			if !closed {
				return m, "", errors.New("a macro without its closing brace")
			}
			m, err := parseSPFMacro(body)
			return m, rest, err
		}
	}
	return m, "", errors.New("a % that begins no macro")
}

// parseSPFMacro reads what stands between the braces: macro-letter transformers *delimiter.
func parseSPFMacro(body string) (spfMacro, error) {
	bad := func() (spfMacro, error) { return spfMacro{}, fmt.Errorf("%%{%s} is no macro", body) }
	if body == "" {
		return bad()
	}
	m := spfMacro{letter: body[0] | 0x20, escape: body[0] < 'a', delims: "."}
	if !isSPFAlpha(body[0]) || !strings.Contains(spfTextLetters, string(m.letter)) {
		return bad()
	}
	rest := strings.TrimLeft(body[1:], "0123456789")
	if digits := body[1 : len(body)-len(rest)]; digits != "" {
		for i := range len(digits) {
			m.keep = min(m.keep*10+int(digits[i]-'0'), spfMaxParts)
		}
		if m.keep == 0 {
			return bad()
		}
	}
	if rest != "" && rest[0]|0x20 == 'r' {
		m.reverse, rest = true, rest[1:]
	}
	if strings.Trim(rest, ".-+,/_=") != "" {
		return bad()
	}
	if rest != "" {
		m.delims = rest
	}
	return m, nil
}

// checkSPFMacros tells whether a macro-string is well formed and has macros of these letters alone. inEnd is how many
// octets follow its last macro.
func checkSPFMacros(s, letters string) (inEnd int, err error) {
	for s != "" {
		m, rest, err := nextSPFMacro(s)
		if err != nil {
			return 0, err
		}
		if m.letter != 0 && strings.IndexByte(letters, m.letter) < 0 {
			return 0, fmt.Errorf("%%{%c} has a meaning in explanations alone", m.letter)
		}
		inEnd = 0
		if s[0] != '%' {
			inEnd = len(m.literal)
		}
		s = rest
	}
	return inEnd, nil
}

// usesSPFMacro tells whether a well-formed macro-string has a macro of this letter.
func usesSPFMacro(s string, letter byte) bool {
	for s != "" {
		m, rest, err := nextSPFMacro(s)
		if err != nil {
			return false
		}
		if m.letter == letter {
			return true
		}
		s = rest
	}
	return false
}

// spfMaxMacros is how many macros and literals of one macro-string are expanded: a record may have thousands, which would
// cost much time and give little text.
const spfMaxMacros = 200

// errSPFTooLong is the error of expandSPF beside a text that was cut off.
var errSPFTooLong = errors.New("macros expand to too much")

// expandSPF expands a macro-string to at most limit octets. value gives what a letter stands for, and is asked for
// letters that checkSPFMacros lets pass.
func expandSPF(s, letters string, limit int, value func(letter byte) string) (string, error) {
	if strings.IndexByte(s, '%') < 0 {
		return s[:min(len(s), limit)], nil
	}
	var b strings.Builder
	for n := 0; s != ""; n++ {
		m, rest, err := nextSPFMacro(s)
		if err != nil {
			return "", err
		}
		if n == spfMaxMacros {
			return b.String(), errSPFTooLong
		}
		if m.letter == 0 {
			b.WriteString(m.literal)
		} else {
			if strings.IndexByte(letters, m.letter) < 0 {
				return "", fmt.Errorf("%%{%c} has a meaning in explanations alone", m.letter)
			}
			b.WriteString(m.transform(value(m.letter)))
		}
		if b.Len() > limit {
			return b.String()[:limit], errSPFTooLong
		}
		s = rest
	}
	return b.String(), nil
}

// transform applies what stands beside the letter, RFC 7208 section 7.3. Empty parts stay: "a..b" has three.
func (m spfMacro) transform(value string) string {
	if m.keep > 0 || m.reverse || m.delims != "." {
		parts := splitSPF(value, m.delims)
		if m.reverse {
			slices.Reverse(parts)
		}
		if m.keep > 0 && m.keep < len(parts) {
			parts = parts[len(parts)-m.keep:]
		}
		value = strings.Join(parts, ".")
	}
	if m.escape {
		value = escapeSPF(value)
	}
	return value
}

func splitSPF(value, delims string) []string {
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

// escapeSPF escapes all octets but the unreserved ones of RFC 3986 section 2.3.
func escapeSPF(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isSPFAlpha(c) || isSPFDigit(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

func isSPFAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isSPFDigit(c byte) bool { return '0' <= c && c <= '9' }
