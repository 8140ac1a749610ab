package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// median returns the median of a figure of filter k over all rounds.
func median(rounds [][]result, k int, figure func(round []result, k int) float64) float64 {
	list := make([]float64, len(rounds))
	for i, round := range rounds {
		list[i] = figure(round, k)
	}
	slices.Sort(list)
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// ratio returns the ratio of a figure to that of the go-milter server in the same round.
func ratio(figure func([]result, int) float64) func([]result, int) float64 {
	return func(round []result, k int) float64 { return figure(round, k) / figure(round, 0) }
}

func rate(round []result, k int) float64 { return round[k].Rate }
func cpu(round []result, k int) float64  { return round[k].CPU }

// report prints the medians of all rounds of a scenario, and the time that the MTA waited for the reply at each stage.
func report(w io.Writer, sc scenario, rounds [][]result) {
	fmt.Fprintf(w, "\n### %s: %s\n\n", sc.name, sc.about)
	fmt.Fprintln(w, "| filter | messages/s | x go-milter | CPU s/1000 messages | x go-milter | p50 ms | p99 ms | DNS questions/message | refused % | RSS MiB |")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for k := range rounds[0] {
		of := func(figure func(result) float64) float64 {
			return median(rounds, k, func(round []result, k int) float64 { return figure(round[k]) })
		}
		fmt.Fprintf(w, "| %s | %.0f | %.2f | %.3f | %.2f | %.2f | %.2f | %.2f | %.1f | %.1f |\n", rounds[0][k].Filter,
			median(rounds, k, rate), median(rounds, k, ratio(rate)), median(rounds, k, cpu), median(rounds, k, ratio(cpu)),
			of(func(m result) float64 { return m.P50 }), of(func(m result) float64 { return m.P99 }),
			of(func(m result) float64 { return m.Asked }), 100*of(func(m result) float64 { return m.Refused }),
			of(func(m result) float64 { return float64(m.Memory) / (1 << 20) }))
	}
	fmt.Fprint(w, "\n| stage (p50 / p99 ms) |")
	sums := make([]tally, len(rounds[0]))
	for k := range sums {
		for _, round := range rounds {
			sums[k].add(round[k].tally)
		}
		fmt.Fprintf(w, " %s |", rounds[0][k].Filter)
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

// reportIdle prints the cost of idle connections.
func reportIdle(w io.Writer, list []idleCost) {
	fmt.Fprint(w, "\n### idle: connections without a message after HELO\n\n| filter | connections | KiB per connection |\n|---|--:|--:|\n")
	for _, c := range list {
		fmt.Fprintf(w, "| %s | %d | %.1f |\n", c.Filter, c.Connections, c.Memory/1024)
	}
}
