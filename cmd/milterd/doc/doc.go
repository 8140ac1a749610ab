// Package doc holds the manual: the guides that "milterd doc" prints, and the sources of the manual pages.
//
// Both are Markdown files in this folder, with the few elements that Parse knows. Text writes a guide for a terminal, Man
// writes a manual page in the roff language. What comes from the code (options, keys, reasons) is put in by package main,
// which has them. Begin to read at Guides.
package doc

import (
	"embed"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

//go:embed *.md man/*.md
var files embed.FS

// Guide is a guide on one subject.
type Guide struct {
	Name  string // as in "milterd doc NAME"
	Title string
	Text  string // Markdown
}

// Guides returns all guides, sorted by name.
func Guides() []Guide {
	var list []Guide
	for _, name := range names("*.md") {
		text := read(name)
		list = append(list, Guide{Name: strings.TrimSuffix(name, ".md"), Title: title(text), Text: text})
	}
	return list
}

// Page is a manual page.
type Page struct {
	Name    string // such as milterd.yaml
	Section int    // such as 5
	Summary string // in one line, for NAME
	Text    string // Markdown of the sections after NAME
}

// File returns the name of the page's file, such as milterd.yaml.5.
func (p Page) File() string { return p.Name + "." + strconv.Itoa(p.Section) }

// Pages returns all manual pages, sorted by name. Directives in them are lines of the form <!-- name arguments -->.
func Pages() []Page {
	var list []Page
	for _, file := range names("man/*.md") {
		text := read(file)
		base := strings.TrimSuffix(path.Base(file), ".md")
		dot := strings.LastIndexByte(base, '.')
		section, _ := strconv.Atoi(base[dot+1:])
		_, summary, _ := strings.Cut(title(text), ": ")
		_, body, _ := strings.Cut(text, "\n")
		list = append(list, Page{Name: base[:dot], Section: section, Summary: summary, Text: body})
	}
	return list
}

// names returns the names of the embedded files that match a pattern, sorted.
func names(pattern string) []string {
	list, err := fs.Glob(files, pattern)
	if err != nil {
		panic(err) // the patterns are constants
	}
	return list
}

// read returns the text of an embedded file.
func read(name string) string {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err) // Glob found it
	}
	return string(text)
}

// title returns the heading in the first line.
func title(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimPrefix(line, "# ")
}
