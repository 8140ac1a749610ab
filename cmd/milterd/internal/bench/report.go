package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// median returns the median of a figure over all rounds. i is the index of the round.
func median[R any](rounds []R, figure func(i int, round R) float64) float64 {
	list := make([]float64, len(rounds))
	for i, round := range rounds {
		list[i] = figure(i, round)
	}
	slices.Sort(list)
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// ratio returns the ratio of a figure to that of the first filter in the same round.
func ratio(figure func([]result, int) float64) func([]result, int) float64 {
	return func(round []result, k int) float64 { return figure(round, k) / figure(round, 0) }
}

// added returns the CPU time of a message above that of milterd without DKIM, DMARC and author checks in the same round.
func added(round []result, k int) float64 {
	bare := slices.IndexFunc(round, func(r result) bool { return r.filter == bareMilterd })
	return round[k].cpu - round[bare].cpu
}

func rate(round []result, k int) float64 { return round[k].rate }
func cpu(round []result, k int) float64  { return round[k].cpu }

// report prints the medians of all rounds of a scenario, and the time that the MTA waited for the reply at each stage.
func report(w io.Writer, sc scenario, rounds [][]result) {
	fmt.Fprintf(w, "\n### %s: %s\n\n", sc.name, sc.about)
	base := rounds[0][0].filter
	fmt.Fprintf(w, "| filter | messages/s | x %s | CPU ms/message | x %s | more than %s | p50 ms | p99 ms | DNS questions/message | refused %% | "+
		"dkim=pass %% | RSS MiB |\n", base, base, bareMilterd)
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for k := range rounds[0] {
		ofRounds := func(figure func(round []result, k int) float64) float64 {
			return median(rounds, func(_ int, round []result) float64 { return figure(round, k) })
		}
		of := func(figure func(result) float64) float64 {
			return median(rounds, func(_ int, round []result) float64 { return figure(round[k]) })
		}
		fmt.Fprintf(w, "| %s | %.0f | %.2f | %.3f | %.2f | %+.3f | %.2f | %.2f | %.2f | %.1f | %.1f | %.1f |\n", rounds[0][k].filter,
			ofRounds(rate), ofRounds(ratio(rate)), ofRounds(cpu), ofRounds(ratio(cpu)), ofRounds(added),
			of(func(m result) float64 { return m.p50 }), of(func(m result) float64 { return m.p99 }),
			of(func(m result) float64 { return m.asked }), 100*of(func(m result) float64 { return m.refused }),
			100*of(func(m result) float64 { return m.dkimPass }), of(func(m result) float64 { return float64(m.memory) / (1 << 20) }))
	}
	fmt.Fprint(w, "\n| stage (p50 / p99 ms) |")
	sums := make([]tally, len(rounds[0]))
	for k := range sums {
		for _, round := range rounds {
			sums[k].add(round[k].tally)
		}
		fmt.Fprintf(w, " %s |", rounds[0][k].filter)
	}
	fmt.Fprintln(w, "\n|---|"+strings.Repeat("--:|", len(sums)))
	for st, e := range events {
		fmt.Fprintf(w, "| %s |", e.name)
		for k := range sums {
			if h := &sums[k].latency[st]; h.count() > 0 {
				fmt.Fprintf(w, " %.2f / %.2f |", h.quantile(.5), h.quantile(.99))
			} else {
				fmt.Fprint(w, " no wait |")
			}
		}
		fmt.Fprintln(w)
	}
}

// reportHeld prints the cost of held connections.
func reportHeld(w io.Writer, h held, list []heldCost) {
	about := "connections without a message after HELO"
	if h.message {
		about = "connections with a signed message, of whose body 256 KiB were sent"
	}
	fmt.Fprintf(w, "\n### %s: %d %s\n\n| filter | KiB per connection |\n|---|--:|\n", h.name, h.n, about)
	for _, c := range list {
		fmt.Fprintf(w, "| %s | %.1f |\n", c.filter, c.memory/1024)
	}
}
