package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/cmd/milterd/doc"
	"milterd/cmd/milterd/internal/config"
)

func newDoc() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doc [SUBJECT]",
		Short: "Print the manual",
		Long: `Print the manual, a guide or a reference at a time. Without a subject it lists them. At a terminal, guides are laid out for
its width; elsewhere they are Markdown.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := unknownCommand(cmd, args); err != nil {
				return fmt.Errorf("%w (\"milterd doc\" lists the subjects)", err)
			}
			return nil
		},
		SuggestionsMinimumDistance: 2,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return listSubjects(cmd) },
	}
	for _, g := range doc.Guides() {
		cmd.AddCommand(&cobra.Command{
			Use: g.Name, Short: g.Title, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return printGuide(cmd.OutOrStdout(), g) },
		})
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "config",
		Short: "The reference configuration: every key with its default",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return config.WriteReference(cmd.OutOrStdout(), all.Checks)
		},
	}, &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a folder",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return writeManual(cmd.Root(), args[0]) },
	})
	return cmd
}

// listSubjects prints the subjects of the manual.
func listSubjects(cmd *cobra.Command) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "Subjects of milterd doc:")
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			fmt.Fprintf(w, "  %s\t%s\n", c.Use, c.Short)
		}
	}
	fmt.Fprintln(w, "\nPackages have the examples that the guides name in /usr/share/doc/milterd/examples.")
	return w.Flush()
}

// guideTables write the tables of this program in guides, and the texts that follow at their end.
var guideTables = map[string]struct{ table, texts func(io.Writer) }{
	"reasons": {table: writeReasonTable, texts: writeReasonTexts},
	"mirror":  {table: writeFindingTable, texts: writeFindingTexts},
}

// printGuide prints a guide: laid out at a terminal, else as Markdown. The guides on reasons and on the mirror have the table of this
// program's reasons and findings, and end with the text of each.
func printGuide(w io.Writer, g doc.Guide) error {
	text := g.Text
	if t, ok := guideTables[g.Name]; ok {
		var table, texts bytes.Buffer
		t.table(&table)
		t.texts(&texts)
		text, _ = replacePart(text, "milterd doc "+g.Name, table.String())
		text += texts.String()
	}
	if !isTerminal(w) {
		_, err := io.WriteString(w, text)
		return err
	}
	return doc.Text(w, text, terminalWidth(w), os.Getenv("TERM") != "dumb")
}

// replacePart replaces the part of a document that is marked as made by something. It reports whether there is one.
func replacePart(text, madeBy, part string) (string, bool) {
	start, end := "<!-- made by "+madeBy+" -->\n", "<!-- end -->"
	before, rest, found := strings.Cut(text, start)
	_, after, closed := strings.Cut(rest, end)
	return before + start + part + end + after, found && closed
}

// terminalWidth returns the width for text at a terminal, in characters.
func terminalWidth(w io.Writer) int {
	const usual, widest = 80, 120
	file, ok := w.(*os.File)
	if !ok {
		return usual
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return usual
	}
	return min(int(size.Col), widest)
}

// writeManual writes the manual pages into a folder. Their date is that of the program, or today if that is not known.
func writeManual(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	date := cmp.Or(buildTime(), time.Now())
	name, _, _ := strings.Cut(root.Version, " ")
	for _, p := range doc.Pages() {
		var err error
		if p.Text, err = expand(root, p.Text); err != nil {
			return fmt.Errorf("%s: %w", p.File(), err)
		}
		var page bytes.Buffer
		if err := doc.Man(&page, p, name, date); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, p.File()), page.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

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
			failed = writeKeys(&out)
		default:
			failed = fmt.Errorf("unknown directive %s", line)
		}
		return out.String()
	})
	return text, failed
}

// leaves returns the commands, with the sub-commands in the place of those that have some and take no argument themselves.
func leaves(commands []*cobra.Command) []*cobra.Command {
	var list []*cobra.Command
	for _, c := range commands {
		switch {
		case c.HasAvailableSubCommands() && c.Use == c.Name():
			list = append(list, leaves(c.Commands())...)
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
	for _, c := range leaves(commands) {
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
	for _, c := range leaves(commands) {
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

// eachReason calls a function with every reason, in the order in which they decide. check is "" for the daemon itself.
func eachReason(f func(check string, r *checks.Reason)) {
	for _, info := range all.Checks {
		for _, r := range info.Reasons {
			f(info.Name, r)
		}
	}
	for _, r := range checks.PipelineReasons() {
		f("", r)
	}
}

// writeReasonTable writes the reasons as a Markdown table.
func writeReasonTable(w io.Writer) {
	fmt.Fprintln(w, "| check | reason | safe | strict | reply | when |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
	eachReason(func(check string, r *checks.Reason) {
		fmt.Fprintf(w, "|%s | `%s` | %s | %s | %d %s | %s |\n",
			strings.TrimRight(" "+check, " "), r.ID, r.Safe, r.Strict, r.Reply.Code, r.Reply.Enhanced, r.When)
	})
}

// writeReasonTexts writes what each reason means and how a sender repairs it.
func writeReasonTexts(w io.Writer) {
	last := "-"
	eachReason(func(check string, r *checks.Reason) {
		if check != last {
			last = check
			fmt.Fprintf(w, "\n## %s\n\n%s\n", cmp.Or(check, "milterd itself"), aboutCheck(check))
		}
		fmt.Fprintf(w, "\n### %s\n\n`%s`\n\n%s\n\n%s\n", r.ID, r.Reply, r.Why, r.Remedy)
	})
}

// writeReasonItems writes the reasons for the manual page: each with its actions, its reply, and its texts.
func writeReasonItems(w io.Writer) {
	last := "-"
	eachReason(func(check string, r *checks.Reason) {
		if check != last {
			last = check
			fmt.Fprintf(w, "\n### %s\n\n%s\n", cmp.Or(check, "milterd itself"), aboutCheck(check))
		}
		fmt.Fprintf(w, "\n- `%s`: Applies when %s. safe: **%s**, strict: **%s**. Reply: `%s`. %s %s\n",
			r.ID, r.When, r.Safe, r.Strict, r.Reply, r.Why, r.Remedy)
	})
}

// aboutCheck returns the text of a check, or of the daemon itself.
func aboutCheck(name string) string {
	for _, info := range all.Checks {
		if info.Name == name {
			return info.Doc
		}
	}
	return "Deferrals that no check decides."
}
