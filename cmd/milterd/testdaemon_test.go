package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter"
	"milterd/milter/evidence"
	"milterd/milter/log"
	"milterd/milter/miltertest"
	"milterd/milter/resolver"
	"milterd/milter/resolver/dnstest"
	"milterd/milter/store"
)

// testDaemon is a daemon in this process, with a DNS server of its own. Its MTA is the test.
type testDaemon struct {
	address  string
	cfg      *config.Config
	dns      *dnstest.Server
	evidence *evidence.Collector
	pipeline *checks.Pipeline
	clock    atomic.Pointer[time.Time] // nil is the real time
	log      bytes.Buffer              // read it after stop
	stop     func()
}

// now returns the time of the daemon.
func (d *testDaemon) now() time.Time {
	if now := d.clock.Load(); now != nil {
		return *now
	}
	return time.Now()
}

// startDaemon starts a daemon with a configuration and a zone, with prefetch of DNS answers or without.
func startDaemon(t testing.TB, configText []byte, zoneText string, prefetch bool) *testDaemon {
	t.Helper()
	return startDaemonIn(t, configText, zoneText, prefetch, func(*testDaemon, *checks.Env) {})
}

// startDaemonIn is startDaemon with changes to the environment of the checks.
func startDaemonIn(t testing.TB, configText []byte, zoneText string, prefetch bool, change func(*testDaemon, *checks.Env)) *testDaemon {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := parseConfig(t, string(configText))
	d := &testDaemon{cfg: cfg, dns: dnstest.Start(t, zoneText)}
	res, err := resolver.New(resolver.Config{Servers: []string{d.dns.Addr}, Timeout: 10 * time.Second}) // the machine may be busy
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(res.Close)
	output := log.ToWriter(&d.log, false, false)
	logger := output.Logger(cfg.Log.Level)
	records := store.NewMemory(d.now)
	t.Cleanup(func() { _ = records.Close() })
	env := checks.Env{DNS: res, Store: records, Log: logrus.NewEntry(logger)}
	change(d, &env)
	d.evidence = openEvidence(env, func() *config.Config { return cfg }, d.now)
	env.Senders = d.evidence
	p, err := newPipeline(cfg, env, func(o *checks.Options) {
		if prefetch {
			o.Announce = res
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Maintain(t.Context(), d.now())
	d.pipeline = p
	srv := &milter.Server{
		Pipeline: func() *checks.Pipeline { return p },
		Journal:  journals{log.Journal{Log: logger}, d.evidence},
		Log:      logrus.NewEntry(logger),
		NewID:    func() string { return "id" },
		Now:      d.now,
	}
	d.address = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	d.stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx) // closes connections that a failed test left open
		if err := <-served; !errors.Is(err, milter.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		d.evidence.Close(miltertest.WaitTimeout)
		output.Close(miltertest.WaitTimeout)
	}
	return d
}
