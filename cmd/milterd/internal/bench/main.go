// Command bench measures the throughput, latency, CPU time and memory of milterd under load. `make bench` runs it.
//
// It runs every scenario in turns against milterd and two baselines: a go-milter server with an empty filter, and milterd's own
// driver with one check that does nothing. The load generator (load.go) speaks the milter protocol as Postfix does; the name
// server (world.go) computes its answers. Each filter is a process of its own (filter.go). The tables (report.go) have the
// medians of all rounds, and the ratios to the go-milter server in the same round.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// scenario is one kind of load.
type scenario struct {
	name, about string
	load        load
	delay       time.Duration // of DNS answers
}

var scenarios = []scenario{
	{
		name: "hot1", about: "32 connections at a time with 1 message each, from 1000 hosts whose DNS records are cached",
		load: load{conns: 32, perConn: 1, hosts: 1000},
	},
	{
		name: "hot10", about: "32 connections at a time with 10 messages each, from 1000 hosts whose DNS records are cached",
		load: load{conns: 32, perConn: 10, hosts: 1000},
	},
	{
		name: "cold", about: "64 connections at a time with 1 message each, every one from a new host, with 20 ms for a DNS answer",
		load: load{conns: 64, perConn: 1}, delay: 20 * time.Millisecond,
	},
}

// result has the figures of one round of one filter.
type result struct {
	Filter   string
	Rate     float64 // messages per second
	CPU      float64 // seconds of the filter per 1000 messages
	Asked    float64 // DNS questions per message
	Refused  float64 // share of the messages
	Memory   int64   // resident set size at the end, in bytes
	P50, P99 float64 // latency of a message in milliseconds
	tally    *tally
}

// bench is one run of the program.
type bench struct {
	dns     *nameServer
	filters []*filter     // the go-milter server first
	length  time.Duration // of a round
	rounds  int
	newHost atomic.Int64 // number of the last host that was new
}

func main() {
	if len(os.Args) == 3 && baselines[os.Args[1]] != nil {
		fatal(serveBaseline(os.Args[1], os.Args[2]))
	}
	program := flag.String("milterd", "bin/milterd", "the daemon, or several to compare, separated by commas")
	only := flag.String("only", "idle,hot1,hot10,cold", "scenarios, separated by commas")
	length := flag.Duration("time", 2*time.Second, "duration of one round of one filter")
	rounds := flag.Int("rounds", 5, "rounds of each scenario")
	idle := flag.Int("idle", 10_000, "number of idle connections")
	grow := flag.Duration("grow", 0, "instead of the scenarios: load milterd as in hot1 for this duration and print its memory")
	file := flag.String("json", "", "`file` for the results of all rounds")
	flag.Parse()
	debug.SetGCPercent(400) // the generator shares the processors with the filters
	b := &bench{length: *length, rounds: *rounds}
	b.newHost.Store(100_000) // over the numbers of the hosts in scenarios with a fixed number of them
	fatal(b.run(strings.Split(*program, ","), strings.Split(*only, ","), *idle, *grow, *file))
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(programs []string, only []string, idle int, grow time.Duration, file string) error {
	var err error
	if b.dns, err = startNameServer(); err != nil {
		return err
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("%s, %d processors, load average at the start: %s", runtime.Version(), runtime.NumCPU(), load)
	results := map[string]any{}
	if slices.Contains(only, "idle") && grow == 0 {
		list, err := b.idle(programs, idle)
		if err != nil {
			return fmt.Errorf("idle: %w", err)
		}
		results["idle"] = list
		reportIdle(os.Stdout, list)
	}
	stop, err := b.start(programs)
	if err != nil {
		return err
	}
	defer stop()
	if grow > 0 {
		return b.watch(b.filters[len(b.filters)-1], grow)
	}
	for _, sc := range scenarios {
		if !slices.Contains(only, sc.name) {
			continue
		}
		rounds, err := b.runScenario(sc)
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
		results[sc.name] = rounds
		report(os.Stdout, sc, rounds)
	}
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(results, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// start starts all filters with an empty state.
func (b *bench) start(programs []string) (stop func(), err error) {
	folder, err := os.MkdirTemp("", "milterd-bench-")
	if err != nil {
		return nil, err
	}
	b.filters = nil
	stop = func() {
		for _, f := range b.filters {
			f.stop()
		}
		os.RemoveAll(folder)
	}
	add := func(f *filter, err error) error {
		if err == nil {
			b.filters = append(b.filters, f)
		}
		return err
	}
	for _, name := range []string{"go-milter", "driver"} {
		if err := add(startBaseline(name, folder)); err != nil {
			stop()
			return nil, err
		}
	}
	for _, program := range programs {
		if err := add(startMilterd(program, folder, b.dns.addr())); err != nil {
			stop()
			return nil, err
		}
	}
	return stop, nil
}

// runScenario runs a scenario against all filters in turns, in a changing order. The first round fills the caches and is not in
// the results.
func (b *bench) runScenario(sc scenario) ([][]result, error) {
	b.dns.delay.Store(int64(sc.delay))
	var rounds [][]result
	for i := range b.rounds + 1 {
		round := make([]result, len(b.filters))
		for k := range b.filters {
			if i%2 == 1 {
				k = len(b.filters) - 1 - k
			}
			var err error
			if round[k], err = b.round(b.filters[k], sc, i == 0); err != nil {
				return nil, err
			}
		}
		if i > 0 {
			rounds = append(rounds, round)
		}
	}
	return rounds, nil
}

// round runs one round of a scenario against one filter. A warm-up has sessions of every host.
func (b *bench) round(f *filter, sc scenario, warmUp bool) (result, error) {
	l := sc.load
	if warmUp {
		l.minSessions = 2 * l.hosts
	}
	l.socket, l.length, l.newHost = f.socket, b.length, &b.newHost
	runtime.GC() // of the garbage of the round before, so that it takes no time of this one
	asked := b.dns.asked.Load()
	before, err := f.cpu()
	if err != nil {
		return result{}, err
	}
	t := l.run()
	time.Sleep(200 * time.Millisecond) // work of the filter after the last reply counts too
	after, err := f.cpu()
	if err != nil {
		return result{}, err
	}
	if t.Errors > 0 {
		return result{}, fmt.Errorf("%s: %d errors in %d messages, the first: %w", f.name, t.Errors, t.Messages, t.FirstErr)
	}
	rss, err := f.rss()
	n := float64(max(t.Messages, 1))
	return result{
		Filter: f.name, Rate: n / t.Took.Seconds(), CPU: (after - before) / n * 1000, Asked: float64(b.dns.asked.Load()-asked) / n,
		Refused: float64(t.Refused) / n, Memory: rss, P50: t.latency[message].quantile(.5), P99: t.latency[message].quantile(.99), tally: t,
	}, err
}

// watch loads a filter for a long time and prints its memory.
func (b *bench) watch(f *filter, length time.Duration) error {
	const parts = 12
	sc := scenarios[0]
	b.length = length / parts
	fmt.Printf("\n%s under hot1 for %s\n\n| after | messages/s | RSS MiB |\n|--:|--:|--:|\n", f.name, length)
	for i := range parts {
		m, err := b.round(f, sc, i == 0)
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %.0f | %.1f |\n", b.length*time.Duration(i+1), m.Rate, float64(m.Memory)/(1<<20))
	}
	return nil
}

// idleCost is the cost of idle connections.
type idleCost struct {
	Filter      string
	Connections int
	Memory      float64 // bytes per connection
}

// idle opens n connections, sends HELO on each and leaves them open.
func (b *bench) idle(programs []string, n int) ([]idleCost, error) {
	stop, err := b.start(programs)
	if err != nil {
		return nil, err
	}
	defer stop()
	var list []idleCost
	for _, f := range b.filters {
		before, err := f.rss()
		if err != nil {
			return nil, err
		}
		conns := make([]client, n)
		for i := range conns {
			c := &conns[i]
			c.load, c.tally = load{socket: f.socket}, new(tally)
			if c.open(i % 1000); c.err != nil {
				return nil, fmt.Errorf("%s: connection %d: %w", f.name, i, c.err)
			}
		}
		time.Sleep(time.Second)
		after, err := f.rss()
		if err != nil {
			return nil, err
		}
		for i := range conns {
			conns[i].m.Quit()
		}
		list = append(list, idleCost{Filter: f.name, Connections: n, Memory: float64(after-before) / float64(n)})
	}
	return list, nil
}
