package config

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// syntaxFaults translates the errors of the YAML library, which are written in the terms of its parser. The first entry
// applies whose message and context are part of those of the error. The text has placeholders:
//
//	{line}    the line of the error, quoted
//	{char}    the character of the error, quoted
//	{opened}  the line in which the unfinished text, list or section begins, quoted
//	{begin}   the number of that line
var syntaxFaults = []struct{ message, context, text string }{
	{message: "mapping values are not allowed", text: `{line} has a colon in the wrong place; put a value with a colon in quotes, ` +
		`else check the indentation and the colon of the line before`},
	{message: "could not find expected ':'", text: `{opened} in line {begin} has no colon after the key; write it as key: value`},
	{message: "did not find expected key", text: `{line} does not continue the keys from line {begin} on; check its indentation, ` +
		`and put a value with quotes, brackets or braces in quotes`},
	{message: "'-' indicator", text: `{line} does not continue the list from line {begin} on; begin it with "- ", or check its indentation`},
	{message: "block sequence entries", text: `{line} has a list in the wrong place; write each entry in a line of its own below the key`},
	{message: "mapping keys are not allowed", text: `{line} has a value that begins with "? "; put it in quotes`},
	{message: "',' or ']'", text: `the list {opened} in line {begin} is not closed; add a comma between entries, or "]" at the end`},
	{message: "',' or '}'", text: `the section {opened} in line {begin} is not closed; add a comma between keys, or "}" at the end`},
	{message: "node content", text: `there is {char} where a value should be; add the value, or put it in quotes`},
	{message: "tab", text: tabFault},
	{message: "unknown anchor", text: `{line} refers to an anchor that is not defined; put the value in quotes if it begins with "*"`},
	{message: "alphabetic or numeric", text: `{line} has "&" or "*" without a name; put the value in quotes`},
	{message: "cannot start any token", text: `{line} has a value that begins with {char}; put it in quotes`},
	{message: "without preceding whitespace", text: `{line} has "#" without a space before it; add the space before a comment, or put the value in quotes`},
	{message: "escape character", text: `{line} has an unknown escape sequence; write \\ for a backslash, or use single quotes`},
	{message: "hexadecimal", text: `{line} has an escape sequence without its digits; write \\ for a backslash, or use single quotes`},
	{message: "escape code", text: `{line} has an escape sequence of no character; write \\ for a backslash, or use single quotes`},
	{context: "quoted scalar", text: `the quotes of {opened} in line {begin} are not closed; add the closing quote`},
	{context: "block scalar", text: `{line} has text after "|" or ">"; begin the text in the next line`},
	{context: "tag", text: `{line} has a YAML tag, which begins with "!"; put the value in quotes`},
	{context: "directive", text: `{line} begins with "%", as a YAML directive; put the value in quotes, or delete the line`},
	{message: "directive", text: `{line} is a YAML directive in the wrong place; delete the line`},
	{message: "incompatible", text: `{line} demands another version of YAML; delete the line`},
	{message: "document", text: `{line} does not continue what is before it; check its indentation`},
	{text: `{line} cannot be read; check its indentation, colons, quotes and brackets`},
}

const tabFault = "a tab cannot indent YAML; use spaces"

// syntax reports that the text is not YAML.
func (r *report) syntax(text []byte, err error) {
	le, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		le = &yaml.LoadError{}
	}
	at := position{line: max(le.Mark.Line, 1), col: max(le.Mark.Column, 1)}
	if le.Mark.Line == 0 && le.ContextMark.Line > 0 {
		at = position{line: le.ContextMark.Line, col: max(le.ContextMark.Column, 1)}
	}
	at, c := locate(text, at)
	fault := tabFault
	if c != '\t' {
		fault = explain(le, text, at.line, c)
	}
	r.fail(at, "", "not valid YAML: %s", fault)
}

// explain describes an error of the YAML library at the character c of a line, which is 0 at the end of the text.
func explain(le *yaml.LoadError, text []byte, line int, c rune) string {
	char := endOfFile
	if c != 0 {
		char = strconv.Quote(string(c))
	}
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(text)), "\n")
	begin := max(le.ContextMark.Line, 1)
	placeholders := strings.NewReplacer(
		"{line}", showLine(lines, line), "{char}", char, "{opened}", showLine(lines, begin), "{begin}", strconv.Itoa(begin),
	)
	for _, f := range syntaxFaults {
		if strings.Contains(le.Message, f.message) && strings.Contains(le.ContextMsg, f.context) {
			return placeholders.Replace(f.text)
		}
	}
	return "" // not reached: the last entry always applies
}

const endOfFile = "the end of the file"

// secret matches lines that may have a password or an API key. Messages go to the log and must not have them.
var secret = regexp.MustCompile(`(?i)password|zone|://.*@`)

// showLine returns the line with a number, quoted. Of a line that may have a secret it returns the key.
func showLine(lines []string, number int) string {
	line := ""
	if number <= len(lines) {
		line = strings.TrimSpace(lines[number-1])
	}
	switch {
	case line == "":
		return endOfFile
	case secret.MatchString(line):
		key, _, _ := strings.Cut(line, ":")
		line = key + ": ..."
	}
	return quote(line)
}

// locate returns the character at a position. After the end of the text it returns the end and 0.
func locate(text []byte, at position) (position, rune) {
	here := beginning
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	for len(text) > 0 {
		c, n := utf8.DecodeRune(text)
		if here == at {
			return here, c
		}
		text = text[n:]
		here = here.after(c, text)
	}
	return here, 0
}
