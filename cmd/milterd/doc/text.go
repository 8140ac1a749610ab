package doc

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// Marks in a laid out text, which have no width. Text replaces them.
const (
	boldOn  = "\x01"
	boldOff = "\x02"
)

// Text writes Markdown for a terminal of a width in characters. If styled is set, it uses the escape sequences for bold text.
func Text(w io.Writer, markdown string, width int, styled bool) error {
	var out bytes.Buffer
	blocks := Parse(markdown)
	for i, b := range blocks {
		isTight := i > 0 && b.Kind == Item && blocks[i-1].Kind == Item
		if i > 0 && !isTight {
			out.WriteByte('\n')
		}
		switch b.Kind {
		case Heading:
			out.WriteString(boldOn + plainText(b.Text) + boldOff + "\n")
		case Paragraph:
			lead := strings.Repeat("  ", 1+b.Level)
			lines(&out, lead, lead, wrap(inline(b.Text), width-len(lead)))
		case Item:
			lead := "  - "
			if b.Number != "" {
				lead = "  " + b.Number + " "
			}
			lines(&out, lead, strings.Repeat(" ", len(lead)), wrap(inline(b.Text), width-len(lead)))
		case Code:
			lines(&out, "      ", "      ", strings.Split(b.Text, "\n"))
		case Table:
			table(&out, b.Rows, width-2)
		}
	}
	on, off := "", ""
	if styled {
		on, off = "\x1b[1m", "\x1b[0m"
	}
	_, err := strings.NewReplacer(boldOn, on, boldOff, off).WriteString(w, out.String())
	return err
}

// inline returns a text with marks for its styles.
func inline(text string) string {
	var b strings.Builder
	for _, s := range Spans(text) {
		if s.Style == Plain {
			b.WriteString(s.String())
		} else {
			b.WriteString(boldOn + s.String() + boldOff)
		}
	}
	return b.String()
}

// plainText returns a text without styles.
func plainText(text string) string {
	var b strings.Builder
	for _, s := range Spans(text) {
		b.WriteString(s.Text)
	}
	return b.String()
}

// lines writes lines with a lead, and no space at the end of an empty one.
func lines(w *bytes.Buffer, first, other string, list []string) {
	lead := first
	for _, line := range list {
		w.WriteString(strings.TrimRight(lead+line, " ") + "\n")
		lead = other
	}
}

// columns returns the width of a text.
func columns(text string) int {
	return utf8.RuneCountInString(text) - strings.Count(text, boldOn) - strings.Count(text, boldOff)
}

// wrap breaks a text into lines of a width. A longer word gets a line of its own.
func wrap(text string, width int) []string {
	var list []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case columns(line)+1+columns(word) <= width:
			line += " " + word
		default:
			list = append(list, line)
			line = word
		}
	}
	return append(list, line)
}

// table writes a table. Cells that are too wide are wrapped.
func table(w *bytes.Buffer, rows [][]string, width int) {
	const gap = 2
	widths, narrowest := make([]int, len(rows[0])), make([]int, len(rows[0]))
	for _, row := range rows {
		for i := range widths {
			text := inline(cell(row, i))
			widths[i] = max(widths[i], columns(text))
			for word := range strings.FieldsSeq(text) {
				narrowest[i] = max(narrowest[i], columns(word))
			}
		}
	}
	shrink(widths, narrowest, width-gap*(len(widths)-1))
	isTall := false
	for n, row := range rows {
		var parts [][]string
		height := 1
		for i := range widths {
			text := inline(cell(row, i))
			if n == 0 {
				text = boldOn + text + boldOff
			}
			parts = append(parts, wrap(text, widths[i]))
			height = max(height, len(parts[i]))
		}
		if isTall = isTall || height > 1; isTall && n > 0 {
			w.WriteByte('\n')
		}
		for l := range height {
			line := "  "
			for i, part := range parts {
				text := cell(part, l)
				line += text + strings.Repeat(" ", max(0, widths[i]-columns(text))+gap)
			}
			w.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
}

// cell returns an element of a list, or "".
func cell(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// shrink makes the widest columns narrower until they fit together, but none narrower than its longest word.
func shrink(widths, narrowest []int, width int) {
	total := 0
	for _, w := range widths {
		total += w
	}
	for ; total > width; total-- {
		widest := -1
		for i, w := range widths {
			if w > narrowest[i] && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}
