// Package doc holds the manual: the guides that "milterd doc" prints, and the sources of the manual pages.
//
// Both are Markdown files in this folder, with the few elements that Parse knows. Text writes a guide for a terminal, WriteManual
// the manual pages in the roff language. Commands and their flags (commands.go), keys (keys.go), reasons and findings come from the
// code. Start reading at Guides.
package doc

import (
	"bytes"
	"embed"
	"io"
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
	Text  string // Markdown, as in its file
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

// generated has the functions that write the generated parts of guides: a table, in the place that is marked for it, and texts at the end.
var generated = map[string]struct{ table, texts func(io.Writer) }{
	"reasons": {table: writeReasonTable, texts: writeReasonTexts},
	"mirror":  {table: writeFindingTable, texts: writeFindingTexts},
}

// Markdown returns the text with what comes from the code: the table of reasons or findings of this program, and at the end what
// each of them means.
func (g Guide) Markdown() string {
	from, ok := generated[g.Name]
	if !ok {
		return g.Text
	}
	var table, texts bytes.Buffer
	from.table(&table)
	from.texts(&texts)
	text, _ := ReplacePart(g.Text, "milterd doc "+g.Name, table.String())
	return text + texts.String()
}

// ReplacePart replaces the part of a document that is marked as made by something. It reports whether there is one.
func ReplacePart(text, madeBy, part string) (string, bool) {
	start, end := "<!-- made by "+madeBy+" -->\n", "<!-- end -->"
	before, rest, found := strings.Cut(text, start)
	_, after, closed := strings.Cut(rest, end)
	return before + start + part + end + after, found && closed
}

// manPage is a manual page.
type manPage struct {
	name    string // such as milterd.yaml
	section int    // such as 5
	summary string // in one line, for NAME
	text    string // Markdown of the sections after NAME
}

// file returns the name of the page's file, such as milterd.yaml.5.
func (p manPage) file() string { return p.name + "." + strconv.Itoa(p.section) }

// manPages returns all manual pages, sorted by name. Directives in them are lines of the form <!-- name arguments -->.
func manPages() []manPage {
	var list []manPage
	for _, file := range names("man/*.md") {
		text := read(file)
		base := strings.TrimSuffix(path.Base(file), ".md")
		dot := strings.LastIndexByte(base, '.')
		section, _ := strconv.Atoi(base[dot+1:])
		_, summary, _ := strings.Cut(title(text), ": ")
		_, body, _ := strings.Cut(text, "\n")
		list = append(list, manPage{name: base[:dot], section: section, summary: summary, text: body})
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
