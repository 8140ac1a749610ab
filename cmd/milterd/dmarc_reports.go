package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/facts/dmarc/aggregate"
	"milterd/cmd/milterd/internal/feedback"
)

func newDMARCReports(configFile *string) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "dmarc-reports PATH...",
		Short: "Show the DMARC reports that other sites sent about your domains",
		Long: `Read the DMARC aggregate reports (RFC 9990, RFC 7489) that other sites sent about your domains, and show which hosts sent mail with one
of your domains in From, how much, whether DKIM and SPF passed for that domain, and what the receiver did.

PATH is an mbox file, a Maildir, a folder or a message with reports as attachments, or a report: XML, also compressed by gzip or in a ZIP
archive. Other mail is left out. A report that is there twice counts once.

The hosts whose mail fails DMARC come first in the table of a domain. They are your own hosts that do not sign yet, services that send
for you, or others that use your name. A report says what its sender wants: anybody can send one.

With --keep, the running daemon keeps the reports about its local_domains for five weeks and shows them in the mirror (milterd report
mirror). The exit status is 1 if there is no report.`,
		Example: `  milterd dmarc-reports /var/mail/dmarc
  milterd dmarc-reports --keep ~dmarc/Maildir
  milterd dmarc-reports --json google.com!example.org!1795824000!1795910399.zip`,
		Args: wantPaths("an mbox file, a Maildir, a folder, a message or a report"),
	}
	r := newRemote(cmd, configFile)
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the reports about the domains of this site in the running daemon")
	cmd.RunE = func(cmd *cobra.Command, paths []string) error { return readReports(cmd, r, paths, keep) }
	return cmd
}

// readReports reads the reports in paths and shows them. Only with keep does it need a daemon.
func readReports(cmd *cobra.Command, r *remote, paths []string, keep bool) error {
	if err := checkPaths(paths); err != nil { // later errors are in the result
		return err
	}
	found, err := feedback.Read(cmd.Context(), paths)
	if err != nil {
		return err
	}
	t := newReportTable(found)
	if keep {
		if t.Kept, err = sendReports(cmd, r, found.Reports); err != nil {
			return err
		}
	}
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := printResult(cmd, r, text, t, showReportTable); err != nil {
		return err
	}
	if len(found.Reports) == 0 {
		return errReported // it is in the table
	}
	return nil
}

// reportTable is the output of dmarc-reports.
type reportTable struct {
	Files      int            `json:"files"`
	Messages   int            `json:"messages"`
	Reports    int            `json:"reports"`
	Duplicates int            `json:"duplicates"`
	Skipped    int            `json:"skipped"` // records without an address or a count
	Kept       int            `json:"kept"`    // by the daemon
	Unread     int            `json:"unread"`
	Faults     []string       `json:"faults"` // the first of the unread
	Rows       []feedback.Row `json:"rows"`
}

func newReportTable(found *feedback.Result) reportTable {
	t := reportTable{
		Files: found.Files, Messages: found.Messages, Reports: len(found.Reports), Duplicates: found.Duplicates,
		Unread: found.Unread, Faults: append([]string{}, found.Faults...),
	}
	var rows []feedback.Row
	for _, r := range found.Reports {
		rows = append(rows, feedback.Rows(r)...)
		t.Skipped += r.Skipped
	}
	t.Rows = feedback.Table(rows)
	return t
}

func showReportTable(w io.Writer, t reportTable) {
	fmt.Fprintf(w, "%d %s in %d %s and %d %s\n", t.Reports, plural(t.Reports, "reports"), t.Messages, plural(t.Messages, "messages"), t.Files, plural(t.Files, "files"))
	if t.Duplicates > 0 {
		fmt.Fprintf(w, "%d %s came again. Each counts once.\n", t.Duplicates, plural(t.Duplicates, "reports"))
	}
	if t.Kept > 0 {
		fmt.Fprintf(w, "The daemon keeps %d of them (milterd report mirror).\n", t.Kept)
	}
	if t.Skipped > 0 {
		fmt.Fprintf(w, "Left out: %d %s without an address or a count.\n", t.Skipped, plural(t.Skipped, "records"))
	}
	for _, f := range t.Faults {
		fmt.Fprintf(w, "cannot be read: %s\n", printableLine(f))
	}
	if more := t.Unread - len(t.Faults); more > 0 {
		fmt.Fprintf(w, "and %d more that cannot be read\n", more)
	}
	showReportRows(w, t.Rows)
}

// showReportRows shows a table for each domain.
func showReportRows(w io.Writer, rows []feedback.Row) {
	for len(rows) > 0 {
		n := slices.IndexFunc(rows, func(r feedback.Row) bool { return r.Domain != rows[0].Domain })
		if n < 0 {
			n = len(rows)
		}
		var all, passed int64
		for _, r := range rows[:n] {
			all += r.Count
			if r.Passes() {
				passed += r.Count
			}
		}
		fmt.Fprintf(w, "\n%s: %d %s, %d pass DMARC, %d fail\n", printableName(rows[0].Domain), all, plural(int(all), "messages"), passed, all-passed)
		fmt.Fprintln(w, "SOURCE\tFROM\tMESSAGES\tDKIM\tSPF\tRECEIVER DID\tREPORTER\tSINCE\tUNTIL")
		for _, r := range rows[:n] {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Source, printableName(r.From), r.Count, r.DKIM, r.SPF, printableName(receiverDid(r)),
				printableName(r.Reporter), r.Begin.UTC().Format(time.DateOnly), r.End.Add(-time.Second).UTC().Format(time.DateOnly))
		}
		rows = rows[n:]
	}
}

// receiverDid returns what the receiver did, in the words of the actions.
func receiverDid(r feedback.Row) string {
	if r.Disposition == "none" || r.Disposition == "pass" {
		return "accept"
	}
	return r.Disposition
}

// keepBatch is the number of reports in one call of the daemon, which takes 16 MiB of arguments.
const keepBatch = 20

// sendReports has the daemon keep reports. It returns how many it kept.
func sendReports(cmd *cobra.Command, r *remote, reports []*aggregate.Report) (kept int, err error) {
	for batch := range slices.Chunk(reports, keepBatch) {
		var summaries []feedback.Summary
		for _, report := range batch {
			summaries = append(summaries, feedback.Summarize(report))
		}
		n, _, err := ask[int](cmd.Context(), r, "dmarc-reports/keep", summaries)
		if err != nil {
			return kept, err
		}
		kept += n
	}
	return kept, nil
}

// keepReports keeps reports in the store. It returns how many it kept.
func (d *daemon) keepReports(ctx context.Context, reports []feedback.Summary) (kept int, err error) {
	site := siteOf(d.config())
	if len(site.LocalDomains) == 0 {
		return 0, checks.BadArgument("local_domains is empty: the daemon keeps reports about the domains of its site; name them in the configuration and reload")
	}
	return feedback.Keep(ctx, d.store, site, reports, time.Now())
}
