package doc

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"milterd/checks"
	"milterd/checks/all"
)

// writeReasonTable writes the reasons as a Markdown table.
func writeReasonTable(w io.Writer) {
	fmt.Fprintln(w, "| check | reason | safe | strict | reply | when |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
	for check, r := range all.Reasons() {
		fmt.Fprintf(w, "|%s | `%s` | %s | %s | %d %s | %s |\n",
			strings.TrimRight(" "+check, " "), r.ID, r.Safe, r.Strict, r.Reply.Code, r.Reply.Enhanced, r.When)
	}
}

// writeReasonTexts writes what each reason means and how a sender repairs it.
func writeReasonTexts(w io.Writer) {
	writeReasons(w, "##", func(r *checks.Reason) {
		fmt.Fprintf(w, "\n### %s\n\n`%s`\n\n%s\n\n%s\n", r.ID, r.Reply, r.Why, r.Remedy)
	})
}

// writeReasonItems writes the reasons for the manual page: each with its actions, its reply, and its texts.
func writeReasonItems(w io.Writer) {
	writeReasons(w, "###", func(r *checks.Reason) {
		fmt.Fprintf(w, "\n- `%s`: Applies when %s. safe: **%s**, strict: **%s**.\n\n  Reply: `%s`.\n\n  %s\n\n  %s\n",
			r.ID, r.When, r.Safe, r.Strict, r.Reply, r.Why, r.Remedy)
	})
}

// writeReasons writes each reason with the function write, under a heading and the text of its check.
func writeReasons(w io.Writer, heading string, write func(*checks.Reason)) {
	last := "-"
	for check, r := range all.Reasons() {
		if check != last {
			last = check
			fmt.Fprintf(w, "\n%s %s\n\n%s\n", heading, cmp.Or(check, "milterd itself"), aboutCheck(check))
		}
		write(r)
	}
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
