package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"milterd/milter/evidence"
)

const aboutForwarders = `Show which clients pass on mail of others, and propose forwarders: lines for policies.

A client is shown if it has brought mail of five author domains or more, over a week or more, that are neither its own domain nor a
domain for which it passes SPF. Mailing lists, forwarders and mail providers are such clients.

A client is known if it is also a good sender by the evidence (see milterd report watch) and nothing speaks against it. Mail of
others that it passes on and that fails DMARC is then only watched in the profile safe (dmarc-indirect).

Put a client under forwarders: of a policy if the recipients of the policy forward their mail to this site through it. Neither SPF,
MX+ nor DNS lists are judged for that mail.`

func (d *daemon) reportForwarders(ctx context.Context, _ noArgs) (evidence.ForwarderReport, error) {
	return d.evidence.Forwarders(ctx)
}

func showForwarders(w io.Writer, r evidence.ForwarderReport) {
	showPeriod(w, r.Since, r.Until, r.Lost)
	if len(r.Forwarders) == 0 {
		fmt.Fprintln(w, "no client has passed on mail of five authors or more over a week or more")
		return
	}
	fmt.Fprintln(w, "CLIENT\tMESSAGES\tDAYS\tFIRST\tLAST\tREFUSED\tKNOWN\tAUTHORS")
	var proposed, bySPF []string
	for _, f := range r.Forwarders {
		client := printableLine(f.Client)
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%d\t%s\t%s\n", client, f.Messages, f.Days, formatTime(f.First), formatTime(f.Last),
			f.Against, yesOrNo(f.Known), printableLine(strings.Join(f.Authors, " ")))
		switch {
		case f.Against > 0:
		case f.SPF:
			bySPF = append(bySPF, client)
		default:
			proposed = append(proposed, client)
		}
	}
	fmt.Fprintln(w)
	if len(proposed) > 0 {
		fmt.Fprintln(w, "For the policies of recipients who forward their mail to this site (check each of them):")
		for _, client := range proposed {
			fmt.Fprintf(w, "  forwarders: [%q]\n", client)
		}
	}
	if len(bySPF) > 0 {
		fmt.Fprintf(w, "Known by SPF alone, so forwarders: needs their addresses: %s\n", strings.Join(bySPF, " "))
	}
}
