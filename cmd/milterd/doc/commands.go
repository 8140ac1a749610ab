package doc

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// directive matches a line of a manual page that stands for a part made from the code.
var directive = regexp.MustCompile(`(?m)^<!-- (\w+) ?(.*?) ?-->$`)

// expand replaces the directives of a manual page.
func expand(root *cobra.Command, text string) (string, error) {
	var failed error
	text = directive.ReplaceAllStringFunc(text, func(line string) string {
		var out bytes.Buffer
		m := directive.FindStringSubmatch(line)
		var commands []*cobra.Command
		for _, word := range strings.Fields(m[2]) {
			c, rest, err := root.Find([]string{word})
			if err != nil || len(rest) > 0 {
				failed = fmt.Errorf("%s: no command %s", line, word)
				return line
			}
			commands = append(commands, c)
		}
		switch m[1] {
		case "about":
			for _, c := range commands {
				out.WriteString(about(c))
			}
		case "synopsis":
			writeSynopsis(&out, commands)
		case "options":
			for _, c := range commands {
				writeOptions(&out, c.LocalFlags().FlagUsagesWrapped(0))
			}
			writeOptions(&out, root.PersistentFlags().FlagUsagesWrapped(0))
		case "commands":
			writeCommands(&out, commands)
		case "reasons":
			writeReasonItems(&out)
		case "findings":
			writeFindingItems(&out)
		case "keys":
			failed = cmp.Or(failed, writeKeys(&out))
		default:
			failed = fmt.Errorf("unknown directive %s", line)
		}
		return out.String()
	})
	return text, failed
}

// Leaves returns the commands, with the sub-commands in the place of those that have some and take no argument themselves.
func Leaves(commands []*cobra.Command) []*cobra.Command {
	var list []*cobra.Command
	for _, c := range commands {
		switch {
		case c.HasAvailableSubCommands() && c.Use == c.Name():
			list = append(list, Leaves(c.Commands())...)
		case c.IsAvailableCommand():
			list = append(list, c)
		}
	}
	return list
}

// usage returns a command with its arguments, such as "milterd block add CLIENT [flags]".
func usage(c *cobra.Command) string {
	text := c.Parent().CommandPath() + " " + c.Use
	if c.LocalNonPersistentFlags().HasAvailableFlags() && !strings.Contains(text, "[flags]") {
		text += " [flags]"
	}
	return text
}

// writeSynopsis writes the usage of commands as a block of code.
func writeSynopsis(w io.Writer, commands []*cobra.Command) {
	fmt.Fprintln(w, "```text")
	for _, c := range Leaves(commands) {
		fmt.Fprintln(w, usage(c))
	}
	fmt.Fprintln(w, "```")
}

// option matches a line of the usage of flags: its short form, its long form with the value, its text.
var option = regexp.MustCompile(`^ +(?:(-\w), )?(--[\w-]+(?: \S+)?) +(.+)$`)

// writeOptions writes flags as a list. usages is what FlagUsagesWrapped returns.
func writeOptions(w io.Writer, usages string) {
	for line := range strings.Lines(usages) {
		m := option.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil || strings.HasPrefix(m[2], "--help") || strings.HasPrefix(m[2], "--version") {
			continue
		}
		name := m[2]
		if m[1] != "" {
			name = m[1] + ", " + name
		}
		fmt.Fprintf(w, "- `%s`: %s\n", name, m[3])
	}
}

// writeCommands writes a section for each command: its usage, its text and the flags that it alone has.
func writeCommands(w io.Writer, commands []*cobra.Command) {
	last := ""
	for _, c := range Leaves(commands) {
		about := about(c)
		if about == last {
			about = c.Short + "."
		} else {
			last = about
		}
		fmt.Fprintf(w, "### %s\n\n%s\n\n", usage(c), about)
		writeOptions(w, c.LocalNonPersistentFlags().FlagUsagesWrapped(0))
		fmt.Fprintln(w)
	}
}

// about returns the text of a command as Markdown: indented lines become a block of code.
func about(c *cobra.Command) string {
	var out strings.Builder
	isCode := false
	for line := range strings.SplitSeq(cmp.Or(c.Long, c.Short+"."), "\n") {
		if isIndented := strings.HasPrefix(line, "  "); isIndented != isCode {
			isCode = isIndented
			out.WriteString("```\n")
		}
		out.WriteString(strings.TrimPrefix(line, "  ") + "\n")
	}
	if isCode {
		out.WriteString("```\n")
	}
	return out.String()
}
