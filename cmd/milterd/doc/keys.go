package doc

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
)

// writeKeys writes the keys of the configuration as Markdown: those at the top with a value as a list, and then a list with a heading
// for each section.
func writeKeys(w io.Writer) error {
	keys, err := config.Keys(all.Checks)
	if err != nil {
		return err
	}
	var top, sections bytes.Buffer
	for _, k := range keys {
		if k.Default != "" && !strings.Contains(k.Path, ".") {
			writeKey(&top, k)
		} else {
			writeKey(&sections, k)
		}
	}
	_, err = fmt.Fprintf(w, "%s%s", &top, &sections)
	return err
}

func writeKey(w io.Writer, k config.Key) {
	text, _, _ := strings.Cut(k.Doc, " Uncomment a line") // the page has no such lines
	switch {
	case k.Default == "":
		fmt.Fprintf(w, "\n### %s\n\n%s\n\n", k.Path, text)
		return
	case k.Example != "" && len(k.Entries) == 0:
		text += " For example:"
	}
	fmt.Fprintf(w, "- `%s: %s`: %s\n", k.Path, k.Default, text)
	for i, e := range k.Entries {
		about := e.Doc
		if i == len(k.Entries)-1 {
			about += " An example of an entry:"
		}
		fmt.Fprintf(w, "- `%s[].%s`: %s\n", k.Path, e.Path, about)
	}
	if k.Example != "" {
		fmt.Fprintf(w, "\n```yaml\n%s\n```\n\n", k.Example)
	}
}
