package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/cmd/milterd/internal/outgoing"
	"milterd/milter/mirror"
)

func newMirror(configFile *string) *cobra.Command {
	var args mirrorArgs
	cmd := &cobra.Command{
		Use:   "mirror DOMAIN",
		Short: "Test whether Gmail, Yahoo and Outlook would take mail of a domain from here",
		Long: `Test a domain of this site by the DNS, as Gmail, Yahoo and Outlook do: reverse DNS and HELO name of the mail server, SPF of the domain
for its addresses, DKIM keys, the DMARC record, and MX. Each fault is shown with the record that repairs it.

The addresses are those of mirror.addresses, or else the public ones of the machine, or behind NAT those of its name. DKIM selectors are
those of signed messages that were seen, unless --selector names others. milterd report mirror says what was found in the mail itself.

The exit status is 1 if there is a fault.`,
		Example: "  milterd mirror example.org\n  milterd mirror example.org --selector mail",
		Args:    oneArgument,
	}
	cmd.Flags().StringArrayVar(&args.Selectors, "selector", nil, "`NAME` of a DKIM key, as in NAME._domainkey.DOMAIN; may be repeated")
	r := newRemote(cmd, configFile)
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		args.Domain = words[0]
		test, text, err := ask[outgoing.Test](cmd.Context(), r, "mirror", args)
		if err != nil {
			return err
		}
		if err := printResult(cmd, r, text, test, showTest); err != nil {
			return err
		}
		if len(test.Faults) > 0 {
			return errReported
		}
		return nil
	}
	return cmd
}

// mirrorArgs are the arguments of the function mirror.
type mirrorArgs struct {
	Domain    string   `json:"domain"`
	Selectors []string `json:"selectors,omitempty"` // empty: those that were seen
}

// testDomain tests a domain, also while the mirror is off.
func (d *daemon) testDomain(ctx context.Context, a mirrorArgs) (t outgoing.Test, err error) {
	domain := facts.ASCIIDomain(a.Domain)
	if domain == "" {
		return t, checks.BadArgument("%q is not a domain", a.Domain)
	}
	for _, s := range a.Selectors {
		if facts.ASCIIDomain(s) == "" {
			return t, checks.BadArgument("--selector: %q is not a selector; it is s= of a DKIM-Signature field", s)
		}
	}
	if len(a.Selectors) == 0 {
		report, err := d.mirror.Report(ctx)
		if err != nil {
			return t, err
		}
		for _, s := range report.Domains {
			if s.Name == domain {
				a.Selectors = s.Selectors
			}
		}
	}
	return d.outgoingSite(d.config()).Test(ctx, domain, a.Selectors, time.Now()), nil
}

func showTest(w io.Writer, t outgoing.Test) {
	fmt.Fprintf(w, "%s\n\n", printableLine(t.String()))
	if len(t.OK) > 0 {
		fmt.Fprintf(w, "In order: %s\n", strings.Join(t.OK, ", "))
	}
	if len(t.Unknown) > 0 {
		fmt.Fprintf(w, "Not known: %s\n", strings.Join(t.Unknown, ", "))
	}
	for _, note := range t.Notes {
		fmt.Fprintln(w, printableLine(note))
	}
	for _, f := range t.Faults {
		fmt.Fprintln(w)
		showFault(w, f, "")
	}
	fmt.Fprintln(w)
	if len(t.Unknown) > 0 {
		fmt.Fprintln(w, "By what is known:")
	}
	showVerdicts(w, t.Verdicts)
}

// showFault shows a fault with its repair. about is what else is known of it.
func showFault(w io.Writer, f mirror.Fault, about string) {
	finding := f.About()
	fmt.Fprintf(w, "%s: %s%s\n", finding.ID, finding.Title, about)
	if f.Seen != "" {
		fmt.Fprintf(w, "  Seen: %s\n", printableLine(f.Seen))
	}
	fmt.Fprintf(w, "  Repair: %s\n", finding.Remedy)
	for _, record := range f.Repair {
		fmt.Fprintf(w, "    %s\n", printableLine(record))
	}
}

func showVerdicts(w io.Writer, verdicts []mirror.Verdict) {
	for _, v := range verdicts {
		because := ""
		if len(v.Because) > 0 {
			because = " (" + strings.Join(v.Because, ", ") + ")"
		}
		fmt.Fprintf(w, "%s%s\n", v, because)
	}
}
