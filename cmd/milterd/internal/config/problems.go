package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problem is one error or warning about a configuration, or the place of a value without a text. Text and Path are printable and of
// bounded length, whatever the file contains.
type Problem struct {
	File      string // the configuration file or a file that it names; empty if there is no file
	Line, Col int    // position, counted from 1, Col in characters; 0 for the whole file
	Path      string // of the key, for example "policies[0].actions"; empty for the file itself
	Text      string
	Warning   bool // the configuration can be used
}

// Error returns the problem in the form "milterd.yaml:12:9: actions: unknown reason ...".
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(escape(p.File))
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
		}
		b.WriteString(": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Saying returns the problem with another text.
func (p Problem) Saying(format string, args ...any) Problem {
	p.Text = printable(fmt.Sprintf(format, args...))
	return p
}

// Problems are the problems of the configuration file by line, followed by those of the files that it names.
type Problems []Problem

// Err returns all errors, one per line, or nil if there are only warnings.
func (ps Problems) Err() error {
	var lines []string
	for _, p := range ps {
		if !p.Warning {
			lines = append(lines, p.Error())
		}
	}
	if lines == nil {
		return nil
	}
	return fmt.Errorf("config: %s", strings.Join(lines, "\n"))
}

// sort sorts the problems. main is the name of the configuration file.
func (ps Problems) sort(main string) {
	file := func(p Problem) string {
		if p.File == main {
			return ""
		}
		return p.File
	}
	warning := func(p Problem) int {
		if p.Warning {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(file(a), file(b)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(warning(a), warning(b)))
	})
}

// position is a place in the configuration file, counted from 1. The column counts characters.
type position struct{ line, col int }

// beginning is the position of a problem of the whole file.
var beginning = position{line: 1, col: 1}

// maxProblems is the number of errors, and of warnings, that are reported of one configuration.
const maxProblems = 200

// report collects the problems of one configuration.
type report struct {
	file             string
	list             Problems
	errors, warnings int
}

// fail reports an error in the configuration file.
func (r *report) fail(at position, path, format string, args ...any) {
	r.add(Problem{File: r.file, Line: at.line, Col: at.col, Path: path, Text: fmt.Sprintf(format, args...)})
}

// warn reports a warning about the configuration file.
func (r *report) warn(at position, path, format string, args ...any) {
	r.add(Problem{File: r.file, Line: at.line, Col: at.col, Path: path, Text: fmt.Sprintf(format, args...), Warning: true})
}

func (r *report) add(p Problem) {
	count := &r.errors
	if p.Warning {
		count = &r.warnings
	}
	if *count++; *count > maxProblems {
		return
	}
	p.Text, p.Path = printable(p.Text), printable(p.Path)
	r.list = append(r.list, p)
}

// full reports whether further errors are discarded, so that the caller may stop looking for them.
func (r *report) full() bool { return r.errors > maxProblems }

// finish returns the sorted problems, and a note at the end if some were discarded.
func (r *report) finish() Problems {
	r.list.sort(r.file)
	if r.errors > maxProblems {
		r.list = append(r.list, Problem{File: r.file, Text: "there are more errors"})
	}
	if r.warnings > maxProblems {
		r.list = append(r.list, Problem{File: r.file, Text: "there are more warnings", Warning: true})
	}
	return r.list
}

// maxText is the maximum length of the text of a problem in characters.
const maxText = 600

// printable escapes what cannot be printed and cuts the text to maxText.
func printable(s string) string { return clip(escape(clip(s, maxText)), maxText) }

// escape replaces what cannot be printed by escape sequences of Go.
func escape(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError }) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if strconv.IsPrint(r) && r != utf8.RuneError {
			b.WriteRune(r)
		} else {
			q := strconv.QuoteToASCII(s[:n])
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// maxQuoted is the maximum length of a value in a message in characters.
const maxQuoted = 80

// quote returns a value of the configuration in quotes, shortened, and without the password if it is a URL.
func quote(s string) string {
	if scheme, rest, ok := strings.Cut(s, "://"); ok && strings.Contains(rest, "@") {
		s = scheme + "://..." + rest[strings.LastIndexByte(rest, '@'):]
	}
	return strconv.Quote(clip(s, maxQuoted))
}

// clip cuts s to n characters, the last three of which are dots then.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	count := 0
	for i := range s {
		if count == n-3 {
			if utf8.RuneCountInString(s[i:]) <= 3 {
				return s
			}
			return s[:i] + "..."
		}
		count++
	}
	return s
}
