package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/greylist"
	"milterd/checks/rdns"
	"milterd/cmd/milterd/internal/hostclock"
	"milterd/milter/store"
)

// A scale run compares daemons whose stores have different numbers of records. Each store is filled with the triplets of a day
// (fill), then its daemon gets messages from 100,000 hosts for another day. The daemons run at the same time and are loaded in
// turns, in one round for each hour; then the rest of the hour passes by their clock (hostclock). Each hour they go through their
// stores to delete expired records, while they are loaded. Two more daemons share one Redis, whose records do not expire.

const (
	scaleHosts   = 100_000
	firstPast    = 1_000_000         // number of the first host of the past day; these hosts do not send again
	mostRecords  = 1<<24 - firstPast // as many as hosts that have an address, see addrOf
	passedEvery  = 5                 // of so many triplets of the past day, one came back
	expiresEvery = 20                // of so many, one expires in the course of the day
	writers      = 32
)

// site is a store with the daemons that use it.
type site struct {
	name    string
	records int // of the store at the start
	folder  string
	ready   time.Duration // from the start of the daemon until it answers
	daemons []*filter
	turn    atomic.Int64 // number of the next session
	server  *filter      // Redis; nil for an embedded store
	rounds  []result
}

// parseSizes parses numbers of records, separated by commas.
func parseSizes(text string) (sizes []int, err error) {
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 || n > mostRecords {
			return nil, fmt.Errorf("-scale: %q is not a number of records from 0 to %d", word, mostRecords)
		}
		if slices.Contains(sizes, n) {
			return nil, fmt.Errorf("-scale: %d is given twice", n)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

// scale runs all sites for the hours of a day and prints their figures.
func (b *bench) scale(sizes []int) error {
	if b.rounds < 2 {
		return errors.New("-scale: -rounds must be 2 at least, as the hours of the day are compared")
	}
	var err error
	if b.dns, err = startNameServer(); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "milterd-scale-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	clock, program, err := buildWithClock(folder)
	if err != nil {
		return err
	}
	defer clock.Close()
	var sites []*site
	defer func() {
		for _, s := range sites {
			s.stop()
		}
	}()
	for _, n := range sizes {
		s := &site{name: "embedded", records: n, folder: filepath.Join(folder, strconv.Itoa(n))}
		sites = append(sites, s)
		if err := s.startEmbedded(program, b.dns.addr()); err != nil {
			return err
		}
	}
	shared := &site{name: "two daemons, one Redis", folder: filepath.Join(folder, "redis")}
	sites = append(sites, shared)
	if err := shared.startShared(program, b.dns.addr()); err != nil {
		return err
	}
	for i := range b.rounds + 1 { // the first is a warm-up
		if i > 0 {
			clock.Pass(time.Hour)
		}
		for _, s := range sites {
			r, err := b.siteRound(s)
			if err != nil {
				return fmt.Errorf("%s of %d records: %w", s.name, s.records, err)
			}
			if i > 0 {
				s.rounds = append(s.rounds, r)
			}
		}
	}
	reportScale(sites)
	return nil
}

// buildWithClock builds milterd with a clock that can be moved, for the daemons that are started from now on.
func buildWithClock(folder string) (*hostclock.Clock, string, error) {
	overlay, err := hostclock.Overlay(folder)
	if err != nil {
		return nil, "", err
	}
	program := filepath.Join(folder, "milterd-with-clock")
	build := exec.Command("go", "build", "-trimpath", "-overlay", overlay, "-o", program, "milterd/cmd/milterd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("%v: %w\n%s", build.Args, err, out)
	}
	file := filepath.Join(folder, "clock")
	clock, err := hostclock.New(file)
	if err != nil {
		return nil, "", err
	}
	return clock, program, os.Setenv(hostclock.Variable, file)
}

// startEmbedded fills the store of a site and starts its daemon.
func (s *site) startEmbedded(program, dnsServer string) error {
	path := filepath.Join(s.folder, "milterd") // as startMilterd makes it
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if err := fill(path, s.records); err != nil {
		return err
	}
	began := time.Now()
	f, err := startMilterd("milterd", program, "", s.folder, dnsServer)
	if err != nil {
		return err
	}
	s.ready, s.daemons = time.Since(began), []*filter{f}
	return nil
}

// startShared starts a Redis and two daemons that use it.
func (s *site) startShared(program, dnsServer string) error {
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return err
	}
	server := "redis-server"
	if path, err := exec.LookPath("valkey-server"); err == nil {
		server = path
	}
	socket := filepath.Join(s.folder, "redis.sock")
	var err error
	if s.server, err = start("redis", s.folder, server, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", s.folder); err != nil {
		return err
	}
	more := redisStore(socket)
	for _, name := range []string{"a", "b"} {
		f, err := startMilterd(name, program, more, s.folder, dnsServer)
		if err != nil {
			return err
		}
		s.daemons = append(s.daemons, f)
	}
	return nil
}

// redisStore returns the configuration of a store in Redis.
func redisStore(socket string) string {
	return "store: {driver: redis, url: 'unix://" + socket + "?db=0'}\n"
}

func (s *site) stop() {
	for _, f := range s.daemons {
		f.stop()
	}
	if s.server != nil {
		s.server.stop()
	}
}

// fill writes triplets of greylisting to a new embedded store, as the check does for the messages of the past day.
func fill(path string, n int) error {
	db, err := store.Open(store.Config{Path: path, Timeout: time.Minute})
	if err != nil {
		return err
	}
	everyTriplet := func(settings any) error { // else clients that came back often need no triplet
		settings.(*greylist.Settings).AutoAllow = 0
		return nil
	}
	check, err := greylist.Info.New(everyTriplet, checks.Env{DNS: noDNS{}, Store: db, Log: logrus.NewEntry(logrus.New())})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	faults := make([]error, writers)
	began := time.Now()
	for w := range writers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && faults[w] == nil; i = int(next.Add(1)) - 1 {
				at := began.Add(-time.Duration(float64(24*time.Hour) * (1 - float64(i)/float64(n))))
				if i%expiresEvery == 0 {
					ttl := time.Duration(float64(24*time.Hour) * float64(i+1) / float64(n))
					faults[w] = db.Put(context.Background(), fmt.Sprintf("expires:%d", i), []byte(domainOf(i)), ttl)
				} else {
					faults[w] = attempt(check, firstPast+i, at, i%passedEvery == 1)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(append(faults, db.Close())...)
}

// attempt passes the suspicious message of a host to the check, and once more after the delay if it comes back.
func attempt(check checks.Check, host int, at time.Time, comesBack bool) error {
	ctx := context.Background()
	s := &checks.Session{ID: "scale", Time: at, Client: addrOf(host), Helo: heloOf(host)}
	s.Envelope.MailFrom = checks.ParseAddress("<" + senderOf(host) + ">")
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(fmt.Sprintf("<user%d@site.example>", host%500))}}
	r := checks.NewRequest(s, checks.RcptTo, checks.Verdict{Reason: rdns.Info.Reasons[0]})
	if _, err := check.Check(ctx, r); err != nil || !comesBack {
		return err
	}
	s.Time = at.Add(10 * time.Minute)
	r = checks.NewRequest(s, checks.RcptTo, checks.Verdict{Reason: rdns.Info.Reasons[0]})
	if _, err := check.Check(ctx, r); err != nil {
		return err
	}
	check.(checks.Observer).Observe(ctx, r, checks.Event{Kind: checks.Accepted})
	return nil
}

// noDNS is a resolver without any name.
type noDNS struct{}

// Lookup implements checks.Resolver.
func (noDNS) Lookup(context.Context, checks.Question) (checks.Answer, error) {
	return checks.Answer{NXDomain: true}, nil
}

// siteRound loads all daemons of a site at the same time.
func (b *bench) siteRound(s *site) (result, error) {
	var loads []load
	for _, f := range s.daemons {
		loads = append(loads, load{
			conns: 32 / len(s.daemons), perConn: 1, hosts: scaleHosts, body: letter, socket: f.socket, length: b.length, turn: &s.turn,
		})
	}
	return measure(s.daemons, s.server, loads)
}

// reportScale prints the figures of all sites, and the ratios to the first one.
func reportScale(sites []*site) {
	fmt.Printf("\n### scale: 32 connections at a time with 1 message each, from %d hosts\n\n", scaleHosts)
	fmt.Println("| store | records at the start | MiB on the disk | ready after s | messages/s | CPU ms/message | x the first | last x first half | " +
		"server CPU ms/message | p50 ms | p99 ms | x the first | last x first half | RSS MiB |")
	fmt.Println("|---|" + strings.Repeat("--:|", 13))
	first := func(i int, figure func(result) float64) float64 { return figure(sites[0].rounds[i]) }
	for _, s := range sites {
		of := func(figure func(result) float64) float64 {
			return median(s.rounds, func(_ int, r result) float64 { return figure(r) })
		}
		over := func(figure func(result) float64) float64 {
			return median(s.rounds, func(i int, r result) float64 { return figure(r) / first(i, figure) })
		}
		later := func(figure func(result) float64) float64 {
			half := len(s.rounds) / 2
			of := func(rounds []result) float64 {
				return median(rounds, func(_ int, r result) float64 { return figure(r) })
			}
			return of(s.rounds[half:]) / of(s.rounds[:half])
		}
		cpu, p99 := func(r result) float64 { return r.cpu }, func(r result) float64 { return r.p99 }
		fmt.Printf("| %s | %d | %.0f | %.2f | %.0f | %.3f | %.2f | %.2f | %.3f | %.2f | %.2f | %.2f | %.2f | %.0f |\n", s.name, s.records,
			float64(diskUse(s.folder))/(1<<20), s.ready.Seconds(), of(func(r result) float64 { return r.rate }), of(cpu), over(cpu), later(cpu),
			of(func(r result) float64 { return r.serverCPU }), of(func(r result) float64 { return r.p50 }), of(p99), over(p99), later(p99),
			of(func(r result) float64 { return float64(r.memory) / (1 << 20) }))
	}
}

// diskUse returns the size of all files in a folder, in bytes.
func diskUse(folder string) (size int64) {
	_ = filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it was deleted meanwhile
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return size
}
