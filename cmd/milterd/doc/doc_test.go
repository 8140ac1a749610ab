package doc

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

const sample = `# Title: of a page

<!-- a comment -->
A paragraph with ` + "`a literal`" + `, **bold** words
and a [link](https://example.org/x), in two lines.
- one
  item
- ` + "`--flag VALUE`" + `: text of a ` + "`literal`" + `
1. first

  of the item

` + "```sh\nmilterd status   # 'now'\n.dot\n```" + `
## Table

| a | b |
|---|---|
| 1 | a long text in a cell |
| [guide](reasons.md) |
`

func TestParse(t *testing.T) {
	t.Parallel()
	want := []Block{
		{Kind: Heading, Level: 1, Text: "Title: of a page", Line: 1},
		{Kind: Paragraph, Text: "A paragraph with `a literal`, **bold** words and a [link](https://example.org/x), in two lines.", Line: 4},
		{Kind: Item, Text: "one item", Line: 6},
		{Kind: Item, Text: "`--flag VALUE`: text of a `literal`", Line: 8},
		{Kind: Item, Number: "1.", Text: "first", Line: 9},
		{Kind: Paragraph, Level: 1, Text: "of the item", Line: 11},
		{Kind: Code, Lang: "sh", Text: "milterd status   # 'now'\n.dot", Line: 13},
		{Kind: Heading, Level: 2, Text: "Table", Line: 17},
		{Kind: Table, Rows: [][]string{{"a", "b"}, {"1", "a long text in a cell"}, {"[guide](reasons.md)"}}, Line: 19},
	}
	got := Parse(sample)
	if len(got) != len(want) {
		t.Fatalf("got %d blocks: %+v", len(got), got)
	}
	for i := range want {
		if g, w := got[i], want[i]; g.Kind != w.Kind || g.Level != w.Level || g.Text != w.Text || g.Lang != w.Lang ||
			g.Number != w.Number || g.Line != w.Line || !slices.EqualFunc(g.Rows, w.Rows, slices.Equal[[]string]) {
			t.Errorf("got %+v, want %+v", g, w)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := Text(&out, sample, 40, false); err != nil {
		t.Fatal(err)
	}
	const want = `Title: of a page

  A paragraph with a literal, bold words
  and a link (https://example.org/x), in
  two lines.

  - one item
  - --flag VALUE: text of a literal
  1. first

    of the item

      milterd status   # 'now'
      .dot

Table

  a                   b

  1                   a long text in a
                      cell

  guide (milterd doc
  reasons)
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	out.Reset()
	if err := Text(&out, "a **word** and `x`", 40, true); err != nil || out.String() != "  a \x1b[1mword\x1b[0m and \x1b[1mx\x1b[0m\n" {
		t.Errorf("got %q, %v", &out, err)
	}
}

func TestMan(t *testing.T) {
	t.Parallel()
	page := manPage{name: "a.b", section: 5, summary: "file of a-b", text: `
## DESCRIPTION

Text with ` + "`a-literal's`" + ` and \ and ` + "`.dot`" + `.

.dot

### Sub "heading"

- ` + "`--x N`" + `: text

  more
- other

` + "```\n.a-b\n  c\n```\n" + `
The field Message-ID of well-known mail, from whatever it came, is one that date-missing is not about. The sentence ends here (with the line.)
Afterwards another begins.

` + "```\nd\n```\n"}
	var out bytes.Buffer
	if err := writePage(&out, page, "1.0", time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	const want = `.\" Made by milterd doc man. Do not edit.
.TH "A.B" 5 2026-11-29 "milterd 1.0" "File Formats"
.nh
.ad l
.SH NAME
a.b \- file of a-b
.SH "DESCRIPTION"
Text with \fBa\-literal\(aqs\fR and \e and \fB.dot\fR.
.PP
\&.dot
.SS "Sub \(dqheading\(dq"
.TP
\fB\-\-x N\fR
text
.IP
more
.IP \(bu 2
other
.IP
.in +4n
.EX
\&.a\-b
\&  c
.EE
.in
.PP
The field Message\-ID of well-known mail, from whatever it came, is one that
date\-missing is not about. The sentence ends here (with the line.)\&
Afterwards another begins.
.IP
.EX
d
.EE
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	for _, text := range []string{"#### deep\n", "| a | b |\n"} {
		if err := writePage(&out, manPage{text: text}, "", time.Time{}); err == nil {
			t.Errorf("no error for %q", text)
		}
	}
}

// TestDocuments tests that every guide and manual page can be laid out, and has a title.
func TestDocuments(t *testing.T) {
	t.Parallel()
	for _, g := range Guides() {
		if first, _, _ := strings.Cut(g.Text, "\n"); first != "# "+g.Title || g.Title == "" {
			t.Errorf("%s: first line %q", g.Name, first)
		}
		var out bytes.Buffer
		const width = 92 // the table of reasons does not fit into 80
		if err := Text(&out, g.Text, width, false); err != nil {
			t.Errorf("%s: %v", g.Name, err)
		}
		for line := range strings.Lines(out.String()) {
			const indented = "      " // code is as wide as it is
			if len(line) > width+1 && !strings.HasPrefix(line, indented) && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("%s: wide line %q", g.Name, line)
			}
		}
	}
	for _, p := range manPages() {
		if p.section == 0 || p.summary == "" || !strings.HasPrefix(p.text, "\n## ") {
			t.Errorf("%s: section %d, summary %q", p.name, p.section, p.summary)
		}
	}
}
