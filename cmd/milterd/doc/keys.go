package doc

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"

	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
)

// referenceKey matches a key of the reference configuration: its indentation, its name, its default.
var referenceKey = regexp.MustCompile(`^( *)([a-z_]+):(?: (.+))?$`)

// writeKeys writes the keys of the configuration as Markdown, from the reference configuration: the keys without others below
// them as a list, and then a list with a heading for each of the others.
func writeKeys(w io.Writer) error {
	var reference bytes.Buffer
	if err := config.WriteReference(&reference, all.Checks); err != nil {
		return err
	}
	k := &keys{}
	_, body, _ := strings.Cut(reference.String(), "\n\n") // without the comment on top
	for line := range strings.Lines(body) {
		k.line(strings.TrimRight(line, "\n"))
	}
	_, err := fmt.Fprintf(w, "%s%s", k.top.String(), k.sections.String())
	return err
}

// keys writes keys line by line.
type keys struct {
	top, sections bytes.Buffer
	path          []string // the sections that the line is in, and its key
	comment       []string // the lines of comment before a key
}

func (k *keys) line(line string) {
	if text, ok := strings.CutPrefix(strings.TrimLeft(line, " "), "#"); ok {
		if one, ok := strings.CutPrefix(text, " "); ok {
			k.comment = append(k.comment, one)
		} else {
			k.comment = nil // the default of an action, and the name of its check before: milterd-reasons(7) has them
		}
		return
	}
	m := referenceKey.FindStringSubmatch(line)
	if m == nil {
		return
	}
	const indent = 2
	k.path = append(k.path[:len(m[1])/indent], m[2])
	path, value := strings.Join(k.path, "."), m[3]
	text, entries, example := k.parts()
	w := &k.sections
	if len(k.path) == 1 && value != "" {
		w = &k.top
	}
	if example != "" {
		if last := len(entries) - 1; last >= 0 {
			entries[last] += " An example of an entry:"
		} else {
			text += " For example:"
		}
	}
	text, _, _ = strings.Cut(text, " Uncomment a line") // the page has no such lines
	if value == "" {
		fmt.Fprintf(w, "\n### %s\n\n%s\n\n", path, text)
	} else {
		fmt.Fprintf(w, "- `%s: %s`: %s\n", path, value, text)
	}
	for _, e := range entries {
		name, doc, _ := strings.Cut(e, ": ")
		fmt.Fprintf(w, "- `%s[].%s`: %s\n", path, name, doc)
	}
	if example != "" {
		fmt.Fprintf(w, "\n```yaml\n%s\n```\n\n", example)
	}
}

// parts takes the comment of a key apart: its text, the keys of an entry if it is a list of them, an example.
func (k *keys) parts() (text string, entries []string, example string) {
	part := "text"
	for _, line := range k.comment {
		one, isExample := strings.CutPrefix(line, "Example: ")
		switch {
		case isExample:
			example = one
		case line == "Keys of an entry:":
			part = "keys"
		case line == "Example of an entry:":
			part = "example"
			example = k.path[len(k.path)-1] + ":"
		case part == "keys" && strings.HasPrefix(line, "- "):
			entries = append(entries, line[2:])
		case part == "keys":
			entries[len(entries)-1] += " " + strings.TrimSpace(line)
		case part == "example":
			example += "\n" + line
		default:
			text += " " + line
		}
	}
	k.comment = nil
	return strings.TrimSpace(text), entries, example
}
