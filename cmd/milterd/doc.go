package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

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
