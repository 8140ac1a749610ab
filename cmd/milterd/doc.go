package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
)

func newDoc() *cobra.Command {
	cmd := newGroup("doc", "Print the reference manual, made from the program itself")
	cmd.AddCommand(&cobra.Command{
		Use:   "config",
		Short: "Print the reference configuration: every key with its default",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return config.WriteReference(cmd.OutOrStdout(), all.Checks)
		},
	}, &cobra.Command{
		Use:   "reasons",
		Short: "Print every reason to refuse mail, with replies and remedies (Markdown)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			writeReasonTable(cmd.OutOrStdout())
			writeReasonTexts(cmd.OutOrStdout())
			return nil
		},
	}, &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages, one for each command, into a folder",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			header := &doc.GenManHeader{Section: "8", Source: "milterd", Manual: "Mail administration"}
			return doc.GenManTree(cmd.Root(), header, args[0])
		},
	})
	return cmd
}

// writeReasonTable writes the reasons as a Markdown table, in the order in which they decide.
func writeReasonTable(w io.Writer) {
	fmt.Fprintln(w, "| check | reason | safe | strict | reply | when |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
	for _, info := range all.Checks {
		for _, r := range info.Reasons {
			fmt.Fprintf(w, "| %s | `%s` | %s | %s | %d %s | %s |\n", info.Name, r.ID, r.Safe, r.Strict, r.Reply.Code, r.Reply.Enhanced, r.When)
		}
	}
	for _, r := range checks.PipelineReasons() {
		fmt.Fprintf(w, "| | `%s` | %s | %s | %d %s | %s |\n", r.ID, r.Safe, r.Strict, r.Reply.Code, r.Reply.Enhanced, r.When)
	}
}

// writeReasonTexts writes what each reason means and how it is mended.
func writeReasonTexts(w io.Writer) {
	write := func(r *checks.Reason) {
		fmt.Fprintf(w, "\n### %s\n\n`%s`\n\n%s\n\n%s\n", r.ID, r.Reply, r.Why, r.Remedy)
	}
	for _, info := range all.Checks {
		fmt.Fprintf(w, "\n## %s\n\n%s\n", info.Name, info.Doc)
		for _, r := range info.Reasons {
			write(r)
		}
	}
	fmt.Fprint(w, "\n## Deferrals of the daemon itself\n")
	for _, r := range checks.PipelineReasons() {
		write(r)
	}
}
