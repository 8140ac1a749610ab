package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"milterd/checks/greylist"
)

func (d *daemon) reportRetry(ctx context.Context, _ noArgs) (greylist.Report, error) {
	return greylist.Retry(ctx, d.store, time.Now())
}

func showRetry(w io.Writer, r greylist.Report) {
	fmt.Fprintf(w, "From %s to %s: %d %s held, %d passed, %d waiting, %d not retried in time.\n\n",
		formatTime(r.Since), formatTime(r.Until), r.Held, plural(r.Held, "triplets"), r.Passed, r.Waiting, r.Gone)
	if r.Took.Count > 0 {
		showRetryTimes(w, r.Took)
	}
	if r.Delay > 0 {
		fmt.Fprintf(w, "With a delay of at most %s, hardly any first retry would be too early.\n\n", formatSeconds(r.Delay))
	}
	if len(r.Groups) > 0 {
		fmt.Fprintln(w, "DOMAIN\tHELD\tPASSED\tWAITING\tGONE\tTOO EARLY\tMEDIAN\tCLIENTS THAT DID NOT PASS")
		for _, g := range r.Groups {
			median := "-"
			if g.Took.Count > 0 {
				median = formatSeconds(g.Took.Median)
			}
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n",
				g.Domain, g.Held, g.Passed, g.Waiting, g.Gone, g.Early, median, strings.Join(g.Clients, " "))
		}
		fmt.Fprintln(w)
	}
	if len(r.NoRetry) > 0 {
		fmt.Fprintln(w, "Candidates for checks.greylist.no_retry (check each of them: spammers do not retry either):")
		for _, e := range r.NoRetry {
			fmt.Fprintf(w, "  %s\t%s\n", e.Sender, e.Evidence)
		}
	}
}

// barWidth is the width of the longest bar in characters.
const barWidth = 40

// showRetryTimes shows after what time senders retried, with a bar for each bucket.
func showRetryTimes(w io.Writer, t greylist.Times) {
	fmt.Fprintf(w, "Time until the first retry: median %s; 5 %% in less than %s, 5 %% in more than %s.\n",
		formatSeconds(t.Median), formatSeconds(t.P5), formatSeconds(t.P95))
	most := 1
	for _, b := range t.Buckets {
		most = max(most, b.Count)
	}
	for _, b := range t.Buckets {
		limit := "later"
		if b.AtMost > 0 {
			limit = "up to " + formatSeconds(b.AtMost)
		}
		fmt.Fprintf(w, "  %s\t%d\t%s\n", limit, b.Count, strings.Repeat("#", b.Count*barWidth/most))
	}
	fmt.Fprintln(w)
}
