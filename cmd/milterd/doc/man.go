package doc

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks/all"
	"milterd/milter/mirror"
)

// WriteManual writes the manual pages into a folder. root is the command milterd, whose commands and flags they have.
func WriteManual(root *cobra.Command, dir string, date time.Time) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	version, _, _ := strings.Cut(root.Version, " ")
	for _, p := range manPages() {
		var err error
		if p.text, err = expand(root, p.text); err != nil {
			return fmt.Errorf("%s: %w", p.file(), err)
		}
		var page bytes.Buffer
		if err := writePage(&page, p, version, date); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, p.file()), page.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writePage writes a manual page with the macros of man(7). version is for the foot of the page.
//
// An item of the form "`term`: text" becomes a tagged paragraph. Tables are not supported.
func writePage(w io.Writer, p manPage, version string, date time.Time) error {
	m := &manual{}
	m.printf(".\\\" Made by milterd doc man. Do not edit.\n")
	m.printf(".TH %s %d %s %s %s\n", argument(strings.ToUpper(p.name)), p.section, date.Format(time.DateOnly),
		argument("milterd "+version), argument(volumes[p.section]))
	m.printf(".nh\n.ad l\n") // groff stretches spaces and breaks words else
	m.printf(".SH NAME\n%s \\- %s\n", escape(p.name), escape(p.summary))
	for _, b := range Parse(p.text) {
		if err := m.block(b); err != nil {
			return fmt.Errorf("%s: %w", p.file(), err)
		}
	}
	_, err := w.Write(m.text.Bytes())
	return err
}

// volumes are the names of the sections of the manual.
var volumes = map[int]string{1: "General Commands", 5: "File Formats", 7: "Miscellaneous Information", 8: "System Administration"}

// manual is a manual page that is being written.
type manual struct {
	text      bytes.Buffer
	isHeading bool // the last block was a heading, after which no paragraph macro is allowed
	isInItem  bool // the last block was an item of a list, or belongs to one
}

func (m *manual) printf(format string, args ...any) { fmt.Fprintf(&m.text, format, args...) }

func (m *manual) block(b Block) error {
	wasHeading := m.isHeading
	m.isHeading = b.Kind == Heading
	m.isInItem = b.isInItem() || b.Kind == Code && m.isInItem
	switch b.Kind {
	case Heading:
		macro := map[int]string{2: ".SH", 3: ".SS"}[b.Level]
		if macro == "" {
			return fmt.Errorf("line %d: no macro for a heading of level %d", b.Line, b.Level)
		}
		m.printf("%s %s\n", macro, argument(plainText(b.Text)))
	case Paragraph:
		switch {
		case b.Level == 1:
			m.printf(".IP\n")
		case !wasHeading:
			m.printf(".PP\n")
		}
		m.fill(spans(b.Text))
	case Item:
		m.item(b)
	case Code:
		m.code(b.Text)
	case Table:
		return fmt.Errorf("line %d: a table", b.Line)
	}
	return nil
}

// item writes an item of a list.
func (m *manual) item(b Block) {
	list := Spans(b.Text)
	if len(list) > 1 && list[0].Style == Literal && strings.HasPrefix(list[1].Text, ": ") {
		m.printf(".TP\n%s\n", lineStart(styled(list[0])))
		_, text, _ := strings.Cut(b.Text, "`: ")
		m.fill(spans(text))
		return
	}
	if b.Number != "" {
		m.printf(".IP %s 4\n", argument(b.Number))
	} else {
		m.printf(".IP \\(bu 2\n")
	}
	m.fill(spans(b.Text))
}

// code writes lines as they are. They are set off from the text before them: .IP does that, except in an item.
func (m *manual) code(text string) {
	begin, end := ".IP\n.EX\n", ".EE\n"
	if m.isInItem {
		begin, end = ".IP\n.in +4n\n.EX\n", ".EE\n.in\n"
	}
	m.printf("%s", begin)
	for line := range strings.SplitSeq(text, "\n") {
		m.printf("%s\n", lineStart(literal(line)))
	}
	m.printf("%s", end)
}

// fill writes text in lines that are not too long for an editor.
func (m *manual) fill(text string) {
	const width = 76
	list := wrap(text, width)
	for i, line := range list {
		if i < len(list)-1 && sentenceEnd.MatchString(line) {
			line += `\&` // else roff leaves two spaces here, and one between sentences in a line
		}
		m.printf("%s\n", lineStart(line))
	}
}

// sentenceEnd matches a line at whose end roff sees the end of a sentence.
var sentenceEnd = regexp.MustCompile(`[.!?]["')\]]*$`)

// spans returns a text in roff.
func spans(text string) string {
	var b strings.Builder
	for _, s := range Spans(text) {
		b.WriteString(styled(s))
	}
	return b.String()
}

// styled returns a span in roff. A space in bold text stays in it, also where a line is broken.
func styled(s Span) string {
	switch s.Style {
	case Literal:
		return `\fB` + literal(s.String()) + `\fR`
	case Bold:
		return `\fB` + escape(s.String()) + `\fR`
	default:
		return words.ReplaceAllStringFunc(s.String(), func(word string) string {
			if isName(word) {
				return literal(word)
			}
			return escape(word)
		})
	}
}

// words matches the words of a text, and what is between them.
var words = regexp.MustCompile(`[\w-]+|[^\w-]+`)

// isName reports whether a word in plain text is a name in which no line is broken: that of a header field or a manual page, or the
// id of a reason or a finding.
func isName(word string) bool { return hyphenName.MatchString(word) || ids()[word] }

// hyphenName matches the names of header fields and manual pages with a hyphen.
var hyphenName = regexp.MustCompile(`^([A-Z]\w*(-[A-Z]\w*)+|milterd-\w+)$`)

// ids returns the ids of the reasons and the findings.
var ids = sync.OnceValue(func() map[string]bool {
	m := map[string]bool{}
	for _, r := range all.Reasons() {
		m[r.ID] = true
	}
	for _, f := range mirror.Findings() {
		m[f.ID] = true
	}
	return m
})

// escape returns text for roff, which prints - as a hyphen.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
}

// literal is escape for what a reader copies: - is printed as a minus sign, and an apostrophe as one.
func literal(text string) string {
	return strings.NewReplacer("-", `\-`, "'", `\(aq`).Replace(escape(text))
}

// lineStart returns a line that roff does not take for a request, nor for an indented line, before which mandoc -T html
// leaves an empty one.
func lineStart(line string) string {
	if line != "" && strings.Contains(".' ", line[:1]) {
		return `\&` + line
	}
	return line
}

// argument returns the argument of a macro.
func argument(text string) string {
	return `"` + strings.ReplaceAll(escape(text), `"`, `\(dq`) + `"`
}
