package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	netmail "net/mail"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/milter/records"
)

// reportAddress returns the address of --mail. It may be a local part alone, such as postmaster, which sendmail delivers on this host.
func reportAddress(text string) (string, error) {
	const here = "@localhost"
	full := text
	if !strings.Contains(text, "@") {
		full += here
	}
	address, err := netmail.ParseAddress(full)
	if err != nil {
		return "", checks.BadArgument("--mail: %q is no address; write postmaster@example.org, or postmaster for this host", text)
	}
	if full != text {
		return strings.TrimSuffix(address.Address, here), nil
	}
	return address.Address, nil
}

// mailDaily sends the report by mail.
func mailDaily(cmd *cobra.Command, r *remote, to string) error {
	address, err := reportAddress(to)
	if err != nil {
		return err
	}
	report, _, err := ask[dailyReport](cmd.Context(), r, "report/daily", noArgs{})
	if err != nil {
		return err
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "To: <%s>\nSubject: milterd on %s: %d accepted, %d rejected, %d to look at\nDate: %s\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n",
		address, report.Host, report.Actions[records.Accept], report.Actions["reject"], len(report.Attention)+len(report.Users)+len(report.Wronged),
		report.Until.Format(time.RFC1123Z))
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	showDaily(w, report)
	if err := w.Flush(); err != nil {
		return err
	}
	sendmail, err := exec.LookPath("sendmail")
	if err != nil {
		sendmail = "/usr/sbin/sendmail"
	}
	run := exec.CommandContext(cmd.Context(), sendmail, "-oi", "-t")
	run.Stdin = &text
	switch out, err := run.CombinedOutput(); {
	case err == nil:
		return nil
	case errors.As(err, new(*exec.ExitError)):
		return fmt.Errorf("%s: %w: %s", sendmail, err, cmp.Or(printableLine(string(out)), "see the log of the mail server"))
	default:
		return fmt.Errorf("%s: %w: is a mail server with a sendmail program installed?", sendmail, err)
	}
}
