package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/dmarc"
	"milterd/checks/dmarc/report"
	"milterd/checks/facts"
)

func newReportDMARC(r *remote) *cobra.Command {
	var args dmarcArgs
	var xml bool
	cmd := &cobra.Command{
		Use:   "dmarc [DOMAIN]",
		Short: "Show the DMARC reports that this site sends to other domains",
		Long: `Show the DMARC aggregate reports (RFC 9990) of today, which are sent after midnight UTC, and what became of those of yesterday. With
DOMAIN, show the report to this domain, and who would get it. Domains of which no message has passed DMARC get none.

The daemon sends reports if checks.dmarc.reports.from is set. What other sites report about your domains is shown by
"milterd dmarc-reports".`,
		Example: "  milterd report dmarc\n  milterd report dmarc example.net --xml",
		Args:    atMostOne,
		RunE: func(cmd *cobra.Command, domains []string) error {
			args.Domain = strings.Join(domains, "")
			switch {
			case args.Domain == "" && (xml || args.Yesterday):
				return checks.BadArgument("--xml and --yesterday need a DOMAIN")
			case args.Domain == "":
				return call(cmd, r, "report/dmarc", args, showOutgoing)
			case xml:
				return call(cmd, r, "report/dmarc", args, func(w io.Writer, d dmarcReport) { fmt.Fprint(w, d.Preview.XML) })
			default:
				return call(cmd, r, "report/dmarc", args, showPreview)
			}
		},
	}
	cmd.Flags().BoolVar(&args.Yesterday, "yesterday", false, "show the report of yesterday")
	cmd.Flags().BoolVar(&xml, "xml", false, "print the report as it would be sent")
	return cmd
}

// dmarcArgs are the arguments of the function report/dmarc.
type dmarcArgs struct {
	Domain    string `json:"domain,omitempty"` // empty: all
	Yesterday bool   `json:"yesterday,omitempty"`
}

// dmarcReport is the result of the function report/dmarc.
type dmarcReport struct {
	Today     []report.Outgoing `json:"today,omitempty"`
	Yesterday []report.Outgoing `json:"yesterday,omitempty"`
	Preview   *report.Preview   `json:"report,omitempty"` // of a domain
}

// reporter returns what sends DMARC reports, or nil if none are sent.
func (d *daemon) reporter() *report.Reporter {
	return dmarc.ReporterOf(d.pipeline.Load().Check(dmarc.Info.Name))
}

func (d *daemon) reportDMARC(ctx context.Context, a dmarcArgs) (r dmarcReport, err error) {
	p, now := d.reporter(), time.Now()
	if p == nil {
		return r, errors.New("no DMARC reports are sent: set checks.dmarc.reports.from to an address of this site, and reload")
	}
	if a.Domain == "" {
		if r.Today, err = p.Outgoing(ctx, now); err != nil {
			return r, err
		}
		r.Yesterday, err = p.Outgoing(ctx, now.Add(-day))
		return r, err
	}
	domain := facts.ASCIIDomain(a.Domain)
	if domain == "" {
		return r, checks.BadArgument("%q is not a domain", a.Domain)
	}
	of := now
	if a.Yesterday {
		of = now.Add(-day)
	}
	v, ok, err := p.Preview(ctx, now, of, domain)
	if err == nil && !ok {
		err = fmt.Errorf("there is no report about %s: no message of the day passes DMARC by its record, or it wants no reports", domain)
	}
	r.Preview = &v
	return r, err
}

func showOutgoing(w io.Writer, r dmarcReport) {
	for _, list := range []struct {
		title   string
		reports []report.Outgoing
	}{{"Today, to be sent after midnight UTC", r.Today}, {"Yesterday", r.Yesterday}} {
		fmt.Fprintf(w, "%s: %d %s\n", list.title, len(list.reports), plural(len(list.reports), "domains"))
		if len(list.reports) == 0 {
			continue
		}
		slices.SortStableFunc(list.reports, func(a, b report.Outgoing) int { return int(b.Messages - a.Messages) })
		fmt.Fprintln(w, "DOMAIN\tMESSAGES\tPASS\tFAIL\tROWS\tSTATE")
		for _, o := range list.reports {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\n", printableName(o.Domain), o.Messages, o.Passed, o.Messages-o.Passed, o.Rows, deliveryState(o.Delivery))
		}
		fmt.Fprintln(w)
	}
}

// deliveryState returns what became of a report.
func deliveryState(d report.Delivery) string {
	state := "waits"
	switch {
	case !d.Sent.IsZero():
		state = "sent " + formatTime(d.Sent) + " to " + strings.Join(d.To, ", ")
	case d.Failed:
		state = "failed"
	case d.Over:
		state = "nobody wants it"
	case d.Attempts > 0:
		state = fmt.Sprintf("waits for attempt %d", d.Attempts+1)
	}
	if d.Why != "" {
		state += ": " + d.Why
	}
	return printableLine(state)
}

func showPreview(w io.Writer, r dmarcReport) {
	v := r.Preview
	fmt.Fprintf(w, "domain\t%s\n", printableLine(v.Domain))
	fmt.Fprintf(w, "day\t%s (UTC)\n", v.Day.Format(time.DateOnly))
	fmt.Fprintf(w, "messages\t%d, of which %d pass, in %d %s\n", v.Messages, v.Passed, v.Rows, plural(v.Rows, "rows"))
	fmt.Fprintf(w, "state\t%s\n", deliveryState(v.Delivery))
	fmt.Fprintf(w, "goes to\t%s\n", cmp.Or(printableLine(strings.Join(v.Address, ", ")), "-"))
	if v.Refused != "" {
		fmt.Fprintf(w, "does not go to\t%s\n", printableLine(v.Refused))
	}
	fmt.Fprintf(w, "xml\tmilterd report dmarc %s --xml\n", printableLine(v.Domain))
}

// deliveryCounts is what became of the reports of yesterday.
type deliveryCounts struct {
	Sent    int `json:"sent"`
	Failed  int `json:"failed"`
	Waiting int `json:"waiting"`
}

// String returns the numbers in words.
func (s *deliveryCounts) String() string {
	text := fmt.Sprintf("%d, %d failed", s.Sent, s.Failed)
	if s.Waiting > 0 {
		text += fmt.Sprintf(", %d wait", s.Waiting)
	}
	return text
}

// sentReports returns what became of the reports of yesterday, or nil if none are sent.
func (d *daemon) sentReports(ctx context.Context, now time.Time) (*deliveryCounts, error) {
	p := d.reporter()
	if p == nil {
		return nil, nil
	}
	list, err := p.Deliveries(ctx, now.Add(-day))
	s := new(deliveryCounts)
	for _, o := range list {
		switch {
		case !o.Sent.IsZero():
			s.Sent++
		case o.Failed:
			s.Failed++
		case !o.Over:
			s.Waiting++
		}
	}
	return s, err
}
