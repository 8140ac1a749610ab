package doc

import (
	"regexp"
	"strings"
)

// Kind is the kind of a block.
type Kind uint8

// The kinds of blocks.
const (
	Heading   Kind = iota
	Paragraph      // Text
	Item           // Text, of a list
	Code           // Text, with its line breaks
	Table          // Rows, of which the first is the head
)

// Block is a part of a document.
type Block struct {
	Kind   Kind
	Level  int    // of a Heading: 1 is the title; of a Paragraph: 1 if it belongs to the Item before it
	Text   string // in one line, with the marks of Spans; of Code as it is
	Lang   string // of Code: what stands after the fence
	Number string // of an Item of a numbered list, such as "1."
	Rows   [][]string
	Line   int // number of the first line, from 1
}

var (
	headingLine = regexp.MustCompile(`^(#{1,4}) (.+)$`)
	itemLine    = regexp.MustCompile(`^(-|\d+\.) +(.+)$`)
	commentLine = regexp.MustCompile(`^<!--.*-->$`)
	ruleLine    = regexp.MustCompile(`^\|[-:| ]+\|$`)
)

// Parse reads the Markdown that the documents are written in: headings, paragraphs, lists of one level, whose items may have further
// paragraphs, fenced code, tables, and comments of one line, which are left out.
func Parse(text string) []Block {
	var blocks []Block
	open := false // the last block goes on in the next line
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if lang, ok := strings.CutPrefix(line, "```"); ok {
			start := i + 1
			for i++; i < len(lines) && lines[i] != "```"; i++ {
			}
			code := strings.Join(lines[start:min(i, len(lines))], "\n")
			blocks, open = append(blocks, Block{Kind: Code, Lang: lang, Text: code, Line: start}), false
			continue
		}
		switch {
		case strings.TrimSpace(line) == "", commentLine.MatchString(line):
			open = false
		case headingLine.MatchString(line):
			m := headingLine.FindStringSubmatch(line)
			blocks, open = append(blocks, Block{Kind: Heading, Level: len(m[1]), Text: m[2], Line: i + 1}), false
		case strings.HasPrefix(line, "|"):
			if !open || blocks[len(blocks)-1].Kind != Table {
				blocks, open = append(blocks, Block{Kind: Table, Line: i + 1}), true
			}
			if t := &blocks[len(blocks)-1]; !ruleLine.MatchString(line) {
				t.Rows = append(t.Rows, cells(line))
			}
		case itemLine.MatchString(line):
			m := itemLine.FindStringSubmatch(line)
			blocks, open = append(blocks, Block{Kind: Item, Number: strings.TrimPrefix(m[1], "-"), Text: m[2], Line: i + 1}), true
		case open:
			blocks[len(blocks)-1].Text += " " + strings.TrimSpace(line)
		default:
			level := 0
			if last := len(blocks) - 1; strings.HasPrefix(line, "  ") && last >= 0 && blocks[last].isInItem() {
				level = 1
			}
			blocks, open = append(blocks, Block{Kind: Paragraph, Level: level, Text: strings.TrimSpace(line), Line: i + 1}), true
		}
	}
	return blocks
}

// isInItem reports whether a block is an item of a list or a paragraph of one.
func (b Block) isInItem() bool { return b.Kind == Item || b.Kind == Paragraph && b.Level == 1 }

// cells returns the cells of a row of a table.
func cells(line string) []string {
	row := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
	for i := range row {
		row[i] = strings.TrimSpace(row[i])
	}
	return row
}

// Style is how a span looks.
type Style uint8

// The styles of spans.
const (
	Plain Style = iota
	Bold
	Literal
)

// Span is a part of a text in one style.
type Span struct {
	Text  string
	Style Style
	Link  string // target of a link, or ""
}

var marked = regexp.MustCompile("`[^`]+`|\\*\\*[^*]+\\*\\*|!?\\[[^]]+\\]\\([^)]+\\)")

// Spans splits a text at its marks: `literal`, **bold**, and [text](target).
func Spans(text string) []Span {
	var spans []Span
	plain := func(s string) {
		if s != "" {
			spans = append(spans, Span{Text: s})
		}
	}
	at := 0
	for _, m := range marked.FindAllStringIndex(text, -1) {
		plain(text[at:m[0]])
		mark := text[m[0]:m[1]]
		at = m[1]
		switch {
		case mark[0] == '`':
			spans = append(spans, Span{Text: strings.Trim(mark, "`"), Style: Literal})
		case mark[0] == '*':
			spans = append(spans, Span{Text: strings.Trim(mark, "*"), Style: Bold})
		default:
			label, target, _ := strings.Cut(mark[strings.IndexByte(mark, '[')+1:len(mark)-1], "](")
			inner := Span{Text: strings.Trim(label, "`"), Link: target}
			if strings.HasPrefix(label, "`") {
				inner.Style = Literal
			}
			spans = append(spans, inner)
		}
	}
	plain(text[at:])
	return spans
}

// String returns the words of a span, with what a reader without links needs: the URL, or the command that prints the guide.
func (s Span) String() string {
	guide, isGuide := strings.CutSuffix(s.Link, ".md")
	switch {
	case strings.Contains(s.Link, "://") && s.Link != s.Text:
		return s.Text + " (" + s.Link + ")"
	case isGuide && !strings.Contains(guide, "/"):
		return s.Text + " (milterd doc " + guide + ")"
	default:
		return s.Text
	}
}
