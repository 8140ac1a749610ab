package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks/all"
	"milterd/cmd/milterd/doc"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/mirror"
)

func newDoc() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doc [SUBJECT]",
		Short: "Print the manual",
		Long: `Print the manual, a guide or a reference at a time. Without a subject it lists them. At a terminal, guides are laid out for
its width; elsewhere they are Markdown.`,
		Args: unknownSubject,
		RunE: func(cmd *cobra.Command, _ []string) error { return listSubjects(cmd) },
	}
	for _, g := range doc.Guides() {
		cmd.AddCommand(&cobra.Command{
			Use: g.Name, Short: g.Title, Args: noArguments,
			RunE: func(cmd *cobra.Command, _ []string) error { return printGuide(cmd.OutOrStdout(), g) },
		})
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "config",
		Short: "The reference configuration: every key with its default",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return config.WriteReference(cmd.OutOrStdout(), all.Checks)
		},
	}, &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a folder",
		Args:  oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			return doc.WriteManual(cmd.Root(), args[0], cmp.Or(buildTime(), time.Now()))
		},
	})
	return cmd
}

// unknownSubject returns an error for a subject that the manual does not have.
func unknownSubject(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if slices.Contains(reasonIDs(), args[0]) {
		return isReason(args[0])
	}
	if slices.ContainsFunc(mirror.Findings(), func(f *mirror.Finding) bool { return f.ID == args[0] }) {
		return fmt.Errorf("%s is a finding of the mirror: milterd doc mirror describes it", args[0])
	}
	subjects := commandNames(cmd)
	if near := config.Nearest(args[0], subjects); near != "" {
		return fmt.Errorf("there is no subject %q; did you mean %s? (\"milterd doc\" lists the subjects)", args[0], near)
	}
	return fmt.Errorf("there is no subject %q; want one of %s", args[0], strings.Join(subjects, ", "))
}

// isReason returns the error for a reason in the place of something else.
func isReason(id string) error {
	return fmt.Errorf("%s is a reason: milterd doc reasons describes it, milterd log --reason %[1]s shows where it applied", id)
}

// listSubjects prints the subjects of the manual.
func listSubjects(cmd *cobra.Command) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "Subjects of milterd doc:")
	for _, c := range cmd.Commands() {
		fmt.Fprintf(w, "  %s\t%s\n", c.Use, c.Short)
	}
	fmt.Fprintln(w, "\nPackages have the examples that the guides name in /usr/share/doc/milterd/examples.")
	return w.Flush()
}

// printGuide prints a guide: laid out at a terminal, else as Markdown.
func printGuide(w io.Writer, g doc.Guide) error {
	text := g.Markdown()
	if !isTerminal(w) {
		_, err := io.WriteString(w, text)
		return err
	}
	return doc.Text(w, text, terminalWidth(w.(*os.File)), os.Getenv("TERM") != "dumb")
}
