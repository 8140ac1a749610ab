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
	text, _, _ := strings.Cut(mark(k), " Uncomment a line") // the page has no such lines
	switch {
	case k.Default == "":
		fmt.Fprintf(w, "\n### %s\n\n%s\n\n", k.Path, text)
		return
	case k.Example != "" && len(k.Entries) == 0:
		text += " For example:"
	}
	fmt.Fprintf(w, "- `%s: %s`: %s\n", k.Path, k.Default, text)
	for i, e := range k.Entries {
		about := mark(e)
		if i == len(k.Entries)-1 {
			about += " An example of an entry:"
		}
		fmt.Fprintf(w, "- `%s[].%s`: %s\n", k.Path, e.Path, about)
	}
	if k.Example != "" {
		fmt.Fprintf(w, "\n```yaml\n%s\n```\n\n", narrow(k.Example))
	}
}

// literals matches what a reader types or finds in a file: commands, sockets, files and settings.
var literals = regexp.MustCompile(`milterd report [a-z]+|\b(inet6?|unix|file):[\w@/:]*\w|\blocal:|\brediss?://[^ ,]*|(^| )/[a-z][\w/.-]*[\w/]|\bX-Milterd\b|\bmirror: off\b|\b(p|until)=[\w-]+|why="[.]+"`)

// The values of keys that have a type of their own.
var (
	queries  = strings.Fields("client helo sender client_name")
	actions  = strings.Fields("off watch tag greylist quarantine tempfail reject false")
	profiles = strings.Fields("watch safe strict")
)

// mark returns the text of a key with marks for what is literal in it, as the guides have them. The reference configuration, a YAML
// file, has the same text without marks.
func mark(k config.Key) string {
	text := literals.ReplaceAllStringFunc(k.Doc, func(s string) string {
		word := strings.TrimLeft(s, " ")
		return s[:len(s)-len(word)] + "`" + word + "`"
	})
	values := k.Values
	switch k.Path {
	case "profile":
		values = profiles
	case "actions":
		values = actions
	case "query":
		values = queries
	}
	for _, v := range values {
		// A value is followed by its meaning or the next one. Elsewhere the word may be a plain one.
		text = regexp.MustCompile(`(^|[ (])(`+v+`)( \(|,|:| or |\.| means )`).ReplaceAllString(text, "$1`$2`$3")
	}
	return text
}

// narrow returns an example that a terminal of 80 columns has room for: a mapping in one line that is too long becomes one of
// several lines.
func narrow(example string) string {
	const width = 62
	m := mapping.FindStringSubmatch(example)
	if len(example) <= width || m == nil {
		return example
	}
	return m[1] + "\n  " + strings.ReplaceAll(m[2], ", ", "\n  ")
}

var mapping = regexp.MustCompile(`^(\w+:) \{([^][{}]+)\}$`)
