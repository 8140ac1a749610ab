package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"milterd/checks/counters"
	"milterd/checks/greylist"
)

func showStatus(w io.Writer, s statusReport) {
	fmt.Fprintf(w, "version\t%s\nstarted\t%s\nprofile\t%s\nconnections\t%d\n", s.Version, when(s.Started), s.Profile, s.Connections)
	state := "well"
	if !s.Store.OK {
		state = "DOWN: " + s.Store.Error
	}
	fmt.Fprintf(w, "store\t%s %s, %s since %s\n", s.Store.Driver, s.Store.Place, state, when(s.Store.Since))
	if s.Store.Records >= 0 {
		fmt.Fprintf(w, "\t%d records, %d bytes, %d errors\n", s.Store.Records, s.Store.Bytes, s.Store.Errors)
	}
	d := s.DNS
	fmt.Fprintf(w, "dns\t%d queries, %d answers from the cache, %d joined, %d asked ahead\n", d.Queries, d.Hits, d.Coalesced, d.Announced)
	fmt.Fprintf(w, "\t%d time-outs, %d servers unreachable, %d SERVFAIL, %d refused, %d misfits\n", d.Timeouts, d.Unreachable, d.ServFail, d.Refused, d.Misfits)
	fmt.Fprintf(w, "log\t%d lines dropped\n", s.LogDropped)
	fmt.Fprintf(w, "records\t%d written, %d dropped\n", s.Records.Written, s.Records.Dropped)
	for _, c := range s.Checks {
		fmt.Fprintf(w, "%s\t%s %s", c.Check, c.Name, c.State)
		if !c.Since.IsZero() {
			fmt.Fprintf(w, " since %s", when(c.Since))
		}
		for _, what := range slices.Sorted(maps.Keys(c.Counts)) {
			fmt.Fprintf(w, ", %d %s", c.Counts[what], what)
		}
		if c.Why != "" {
			fmt.Fprintf(w, "; %s", c.Why)
		}
		fmt.Fprintln(w)
	}
}

func showBlocks(w io.Writer, list []counters.Blocked) {
	if len(list) == 0 {
		fmt.Fprintln(w, "nobody is blocked")
		return
	}
	fmt.Fprintln(w, "CLIENT\tSINCE\tUNTIL\tTIMES\tIN FORCE\tWHY")
	for _, b := range list {
		times := fmt.Sprint(b.Level)
		if b.Level == 0 {
			times = "by hand"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", b.Client, when(b.Since), when(b.Until), times, yes(b.InForce), b.Why)
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func showTriplets(w io.Writer, list []greylist.Triplet) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no triplets")
		return
	}
	fmt.Fprintln(w, "STATE\tCLIENT\tADDRESS\tFROM\tTO\tATTEMPTS\tFIRST\tLAST\tPASSED\tSUSPICION")
	for _, t := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t<%s>\t<%s>\t%d\t%s\t%s\t%s\t%s\n",
			t.State, t.Identity, t.Client, t.From, t.To, t.Attempts, when(t.First), when(t.Last), when(t.Passed), t.Suspicion)
	}
}

func showClients(w io.Writer, list []greylist.Client) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w, "CLIENT\tADDRESS\tPASSES\tLAST USED\tALLOWED BY HAND")
	for _, c := range list {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", c.Identity, c.Client, c.Passes, when(c.Used), yes(c.Allowed))
	}
}

// barWidth is the width of the longest bar, in characters.
const barWidth = 40

func showRetry(w io.Writer, r greylist.Report) {
	fmt.Fprintf(w, "From %s to %s: %d triplets held, %d passed, %d still waiting, %d never came back in time.\n\n",
		when(r.Since), when(r.Until), r.Held, r.Passed, r.Waiting, r.Gone)
	showTimes(w, r.Took)
	if r.Delay > 0 {
		fmt.Fprintf(w, "A delay of up to %s would be too early for hardly any first retry.\n\n", seconds(r.Delay))
	}
	if len(r.Groups) > 0 {
		fmt.Fprintln(w, "DOMAIN\tHELD\tPASSED\tWAITING\tGONE\tTOO EARLY\tMEDIAN\tCLIENTS THAT DID NOT PASS")
		for _, g := range r.Groups {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n",
				g.Domain, g.Held, g.Passed, g.Waiting, g.Gone, g.Early, seconds(g.Took.Median), strings.Join(g.Clients, " "))
		}
		fmt.Fprintln(w)
	}
	if len(r.NoRetry) > 0 {
		fmt.Fprintln(w, "Candidates for the setting no_retry of greylist (look at each: spammers do not come back either):")
		for _, e := range r.NoRetry {
			fmt.Fprintf(w, "  %s\t%s\n", e.Sender, e.Evidence)
		}
	}
}

func showTimes(w io.Writer, t greylist.Times) {
	if t.Count == 0 {
		return
	}
	fmt.Fprintf(w, "The first retry came after %s (one in twenty sooner), %s (median), %s (one in twenty later).\n", seconds(t.P5), seconds(t.Median), seconds(t.P95))
	most := 1
	for _, b := range t.Buckets {
		most = max(most, b.Count)
	}
	for _, b := range t.Buckets {
		fmt.Fprintf(w, "  up to %s\t%d\t%s\n", seconds(b.AtMost), b.Count, strings.Repeat("#", b.Count*barWidth/most))
	}
	fmt.Fprintln(w)
}
