// Command bench measures the throughput, latency, CPU time and memory of milterd under load. `make bench` runs it.
//
// It runs every scenario in turns against milterd and some baselines: a go-milter server with an empty filter, a filter that
// verifies DKIM with go-msgauth (msgauth.go), and milterd without DKIM, DMARC and the checks of the author. The load generator
// (load.go) speaks the milter protocol as Postfix does, and sends the messages of mail.go; the name server (world.go) computes its
// answers. Each filter is a process of its own (filter.go). measure.go reads what a load costs it. The tables (report.go) have the
// medians of all rounds, and the ratios to the first baseline in the same round.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
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
	baselines   []string // milterd's figures are compared with those of the first
	load        load
	signed      bool          // the messages have a DKIM signature: rsa2048, relaxed/relaxed
	delay       time.Duration // of DNS answers
}

const (
	bareMilterd  = "milterd-no-auth" // see noAuth
	dnsDelay     = 20 * time.Millisecond
	signedPerSec = 1000 // new hosts whose messages are signed for each second of a round
)

var (
	plainBaselines  = []string{"go-milter", bareMilterd}
	signedBaselines = []string{"go-msgauth", "go-milter", bareMilterd}
	letter          = bodyOf(4 << 10)
)

var scenarios = []scenario{
	{
		name: "hot1", about: "32 connections at a time with 1 message each, from 1000 hosts whose DNS records are cached",
		baselines: plainBaselines, load: load{conns: 32, perConn: 1, hosts: 1000, body: letter},
	},
	{
		name: "hot10", about: "32 connections at a time with 10 messages each, from 1000 hosts whose DNS records are cached",
		baselines: plainBaselines, load: load{conns: 32, perConn: 10, hosts: 1000, body: letter},
	},
	{
		name: "cold", about: "64 connections at a time with 1 message each, every one from a new host, with 20 ms for a DNS answer",
		baselines: plainBaselines, load: load{conns: 64, perConn: 1, body: letter}, delay: dnsDelay,
	},
	{
		name: "auth1", about: "as hot1 with signed messages",
		baselines: signedBaselines, load: load{conns: 32, perConn: 1, hosts: 1000, body: letter}, signed: true,
	},
	{
		name: "auth10", about: "as hot10 with signed messages",
		baselines: signedBaselines, load: load{conns: 32, perConn: 10, hosts: 1000, body: letter}, signed: true,
	},
	{
		name: "authcold", about: "as cold with signed messages",
		baselines: signedBaselines, load: load{conns: 64, perConn: 1, body: letter}, signed: true, delay: dnsDelay,
	},
	{
		name: "authbig", about: "8 connections at a time with 1 signed message of 1 MiB each, from 100 hosts",
		baselines: signedBaselines, load: load{conns: 8, perConn: 1, hosts: 100, body: bodyOf(1 << 20)}, signed: true,
	},
}

// bench is one run of the program.
type bench struct {
	dns     *nameServer
	filters []*filter     // all that run
	length  time.Duration // of a round
	rounds  int
	newHost atomic.Int64 // number of the last host that was new
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run does what the command line says.
func run() error {
	if len(os.Args) == 4 && baselines[os.Args[1]] != nil {
		return serveBaseline(os.Args[1], os.Args[2], os.Args[3])
	}
	program := flag.String("milterd", "bin/milterd", "the daemon, or several to compare, separated by commas")
	only := flag.String("only", strings.Join(names(), ","), "scenarios, separated by commas")
	length := flag.Duration("time", 2*time.Second, "duration of one round of one filter")
	rounds := flag.Int("rounds", 5, "rounds of each scenario")
	idle := flag.Int("idle", 10_000, "number of idle connections; with a message in flight, there are a fifth as many")
	scale := flag.String("scale", "", "instead of the scenarios: build milterd, compare stores of these `numbers` of records and a common "+
		"Redis, with a round for each hour; see scale.go")
	flag.Parse()
	programs, chosen := strings.Split(*program, ","), strings.Split(*only, ",")
	if err := checkFlags(programs, chosen, *rounds, *idle); err != nil {
		return err
	}
	debug.SetGCPercent(400) // the generator shares the processors with the filters
	b := &bench{length: *length, rounds: *rounds}
	b.newHost.Store(100_000) // over the numbers of the hosts in scenarios with a fixed number of them
	if *scale == "" {
		return b.runScenarios(programs, chosen, *idle)
	}
	sizes, err := parseSizes(*scale)
	if err != nil {
		return err
	}
	return b.scale(sizes)
}

// names returns the names of the scenarios, with those of held connections.
func names() []string {
	list := []string{"idle", "inflight"}
	for _, sc := range scenarios {
		list = append(list, sc.name)
	}
	return list
}

// checkFlags returns an error for values with which a run would fail at its end or have no result.
func checkFlags(programs, only []string, rounds, idle int) error {
	used := []string{bareMilterd}
	for _, program := range programs {
		name := filepath.Base(program) // of its socket and folder too
		if slices.Contains(used, name) || baselines[name] != nil {
			return fmt.Errorf("-milterd: there are two filters with the name %s; rename %s", name, program)
		}
		used = append(used, name)
	}
	for _, name := range only {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("-only: there is no scenario %q; want some of %s", name, strings.Join(names(), ","))
		}
	}
	switch {
	case rounds < 1:
		return fmt.Errorf("-rounds %d: want 1 or more", rounds)
	case idle < heldShare:
		return fmt.Errorf("-idle %d: want %d or more", idle, heldShare)
	}
	return nil
}

// runScenarios runs the chosen scenarios and prints their figures.
func (b *bench) runScenarios(programs, chosen []string, idle int) error {
	var err error
	if b.dns, err = startNameServer(); err != nil {
		return err
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("%s, %d processors, load average at the start: %s", runtime.Version(), runtime.NumCPU(), load)
	for _, h := range []held{{name: "idle", n: idle}, {name: "inflight", n: idle / heldShare, message: true}} {
		if !slices.Contains(chosen, h.name) {
			continue
		}
		list, err := b.hold(programs, h)
		if err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
		reportHeld(os.Stdout, h, list)
	}
	stop, err := b.start(programs)
	if err != nil {
		return err
	}
	defer stop()
	for _, sc := range scenarios {
		if !slices.Contains(chosen, sc.name) {
			continue
		}
		rounds, err := b.runScenario(sc)
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
		report(os.Stdout, sc, rounds)
	}
	return nil
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
	for _, name := range []string{"go-milter", "go-msgauth"} {
		err = errors.Join(err, add(startBaseline(name, folder, b.dns.addr())))
	}
	err = errors.Join(err, add(startMilterd(bareMilterd, programs[len(programs)-1], noAuth, folder, b.dns.addr())))
	for _, program := range programs {
		err = errors.Join(err, add(startMilterd(filepath.Base(program), program, "", folder, b.dns.addr())))
	}
	if err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// filtersOf returns the filters of a scenario: its baselines, then the programs.
func (b *bench) filtersOf(sc scenario) []*filter {
	var list []*filter
	for _, name := range sc.baselines {
		list = append(list, b.filters[slices.IndexFunc(b.filters, func(f *filter) bool { return f.name == name })])
	}
	last := slices.IndexFunc(b.filters, func(f *filter) bool { return f.name == bareMilterd })
	return append(list, b.filters[last+1:]...)
}

// runScenario runs a scenario against all filters in turns, in a changing order. The first round fills the caches and is not in
// the results.
func (b *bench) runScenario(sc scenario) ([][]result, error) {
	b.dns.delay.Store(int64(sc.delay))
	if sc.signed && sc.load.hosts > 0 {
		var err error
		if sc.load, err = sc.load.sign(0, sc.load.hosts); err != nil {
			return nil, err
		}
	}
	filters := b.filtersOf(sc)
	var rounds [][]result
	for i := range b.rounds + 1 {
		round := make([]result, len(filters))
		for k := range filters {
			if i%2 == 1 {
				k = len(filters) - 1 - k
			}
			var err error
			if round[k], err = b.round(filters[k], sc, i == 0); err != nil {
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
	if sc.signed && l.hosts == 0 {
		l.minSessions, l.length = int(b.length.Seconds()*signedPerSec), 0
		var err error
		if l, err = l.sign(int(b.newHost.Load())+1, l.minSessions+l.conns); err != nil {
			return result{}, err
		}
	}
	asked := b.dns.asked.Load()
	r, err := measure([]*filter{f}, nil, []load{l})
	if err != nil {
		return r, fmt.Errorf("%s: %w", f.name, err)
	}
	r.filter, r.asked = f.name, float64(b.dns.asked.Load()-asked)/float64(max(r.tally.messages, 1))
	return r, nil
}
