package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problem is one fault of a configuration. Text and Path are printable and bounded, whatever the file holds.
type Problem struct {
	File      string // the configuration file or one that it names; empty: there is no file
	Line, Col int    // from 1, Col in characters; zero: the whole file
	Path      string // of the key, "policies[0].actions"; empty: the file itself
	Text      string
	Warning   bool // the configuration can be used
}

// String is "milterd.yaml:12:9: actions: unknown reason ...".
func (p Problem) String() string {
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

// Problems are sorted: the configuration file by line first, then the files it names.
type Problems []Problem

// Err is nil if the configuration can be used, else it has every error on a line of its own.
func (ps Problems) Err() error {
	var lines []string
	for _, p := range ps {
		if !p.Warning {
			lines = append(lines, p.String())
		}
	}
	if lines == nil {
		return nil
	}
	return fmt.Errorf("config: %s", strings.Join(lines, "\n"))
}

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
		return cmp.Or(cmp.Compare(file(a), file(b)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(warning(a), warning(b)))
	})
}

// spot is a position in the configuration file, counted from 1.
type spot struct{ line, col int }

// start is where a problem of the whole file is.
var start = spot{1, 1}

// maxProblems is how many errors, and how many warnings, are told of one configuration.
const maxProblems = 200

// report collects the problems of one configuration.
type report struct {
	file             string
	list             Problems
	errors, warnings int
}

func (r *report) add(p Problem) {
	count := &r.errors
	if p.Warning {
		count = &r.warnings
	}
	if *count++; *count > maxProblems {
		return
	}
	p.Text, p.Path = tidy(p.Text), tidy(p.Path)
	r.list = append(r.list, p)
}

// full tells whether no more errors are told, so that looking for them is vain.
func (r *report) full() bool { return r.errors > maxProblems }

// fail reports an error in the configuration file.
func (r *report) fail(at spot, path, format string, args ...any) {
	r.add(Problem{File: r.file, Line: at.line, Col: at.col, Path: path, Text: fmt.Sprintf(format, args...)})
}

// warn reports a warning in the configuration file.
func (r *report) warn(at spot, path, format string, args ...any) {
	r.add(Problem{File: r.file, Line: at.line, Col: at.col, Path: path, Text: fmt.Sprintf(format, args...), Warning: true})
}

// finish sorts the problems and says what was left out.
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

// maxText is how long the text of a problem may be, in characters.
const maxText = 600

// tidy makes a text safe to print and bounds its length.
func tidy(s string) string { return clip(escape(clip(s, maxText)), maxText) }

// escape makes everything printable that is not.
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

// quote shows a text of the configuration in a message.
func quote(s string) string {
	const most = 80
	return strconv.Quote(clip(s, most))
}

// clip shortens a text to n characters.
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
