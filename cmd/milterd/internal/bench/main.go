// Command bench measures milterd beside go-milter's own server that does nothing, and beside its own driver without what it does
// for the site, in one run and in turns, with a load generator that speaks the milter protocol as Postfix does and a name server
// of its own. `make bench` runs it.
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
	delay       time.Duration // of the DNS
}

var scenarios = []scenario{
	{"hot1", "32 connections with 1 message each, 1000 hosts whose DNS is known", load{conns: 32, perConn: 1, hosts: 1000}, 0},
	{"hot10", "32 connections with 10 messages each, 1000 hosts whose DNS is known", load{conns: 32, perConn: 10, hosts: 1000}, 0},
	{"cold", "64 connections with 1 message each, every host new, DNS 20 ms away", load{conns: 64, perConn: 1}, 20 * time.Millisecond},
	{"hot-open", "1 message on each connection, 500 a second, 1000 hosts whose DNS is known", load{conns: 256, perConn: 1, hosts: 1000, rate: 500}, 0},
	{"cold-open", "1 message on each connection, 80 a second, every host new, DNS 20 ms away", load{conns: 256, perConn: 1, rate: 80}, 20 * time.Millisecond},
}

// measure is one round of one filter.
type measure struct {
	Filter   string
	Rate     float64 // messages a second
	CPU      float64 // seconds of the filter for 1000 messages
	Asked    float64 // DNS questions for each message
	Refused  float64 // share of the messages
	Memory   int64   // RSS at the end, octets
	P50, P99 float64 // of a message, milliseconds
	tally    *tally
}

// bench is one run of the program.
type bench struct {
	dns     *nameServer
	filters []*filter // the floor first
	length  time.Duration
	rounds  int
	fresh   atomic.Int64
}

func main() {
	if len(os.Args) == 3 && yardsticks[os.Args[1]] != nil {
		fatal(serveYardstick(os.Args[1], os.Args[2]))
	}
	program := flag.String("milterd", "bin/milterd", "the built daemon, or several to compare, with commas between")
	only := flag.String("only", "idle,hot1,hot10,cold,hot-open,cold-open", "what to measure")
	length := flag.Duration("time", 2*time.Second, "length of one round of one filter")
	rounds := flag.Int("rounds", 5, "rounds of each scenario")
	idle := flag.Int("idle", 10_000, "how many connections lie idle")
	grow := flag.Duration("grow", 0, "instead: load milterd as in hot1 for so long, and watch its memory")
	file := flag.String("json", "", "write the figures of all rounds into this `file`")
	flag.Parse()
	debug.SetGCPercent(400) // the generator shares the processors with the filters
	b := &bench{length: *length, rounds: *rounds}
	b.fresh.Store(100_000) // beyond those that are known
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
	fmt.Printf("%s, %d processors, load average before: %s", runtime.Version(), runtime.NumCPU(), load)
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
		rounds, err := b.measure(sc)
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

// start starts the filters, as if nothing had been before.
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
		if err := add(startYardstick(name, folder)); err != nil {
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

// measure runs a scenario against all filters in turns. The first round, which fills the caches, does not count.
func (b *bench) measure(sc scenario) ([][]measure, error) {
	b.dns.delay.Store(int64(sc.delay))
	var rounds [][]measure
	for i := range b.rounds + 1 {
		round := make([]measure, len(b.filters))
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

// round is one of them. In one to warm up every known host comes.
func (b *bench) round(f *filter, sc scenario, warmUp bool) (measure, error) {
	l := sc.load
	if warmUp {
		l.first = 2 * l.hosts
	}
	l.socket, l.length, l.next = f.socket, b.length, &b.fresh
	runtime.GC() // ours, of the round before
	asked := b.dns.asked.Load()
	before, err := f.cpu()
	if err != nil {
		return measure{}, err
	}
	t := l.run()
	time.Sleep(200 * time.Millisecond) // what the filter does behind the messages is part of them
	after, err := f.cpu()
	if err != nil {
		return measure{}, err
	}
	if t.Errors > 0 {
		return measure{}, fmt.Errorf("%s: %d errors in %d messages, as: %w", f.name, t.Errors, t.Messages, t.FirstErr)
	}
	rss, err := f.rss()
	n := float64(max(t.Messages, 1))
	return measure{
		Filter: f.name, Rate: n / t.Took.Seconds(), CPU: (after - before) / n * 1000, Asked: float64(b.dns.asked.Load()-asked) / n,
		Refused: float64(t.Refused) / n, Memory: rss, P50: t.latency[message].quantile(.5), P99: t.latency[message].quantile(.99), tally: t,
	}, err
}

// watch loads a filter for long and prints its memory.
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

// held is what idle connections cost.
type held struct {
	Filter string
	Held   int
	Memory float64 // octets for each
}

// idle opens connections, says HELO on each and leaves them so.
func (b *bench) idle(programs []string, n int) ([]held, error) {
	stop, err := b.start(programs)
	if err != nil {
		return nil, err
	}
	defer stop()
	var list []held
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
		list = append(list, held{f.name, n, float64(after-before) / float64(n)})
	}
	return list, nil
}
