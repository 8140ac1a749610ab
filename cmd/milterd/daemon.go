package main

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/outgoing"
	"milterd/milter"
	"milterd/milter/evidence"
	"milterd/milter/log"
	"milterd/milter/mirror"
	"milterd/milter/periodic"
	"milterd/milter/rdap"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/store"
	"milterd/milter/web"
	"milterd/milter/web/dashboard"
)

const (
	// drainTimeout is how long a stopping daemon waits for the messages in flight. Mail servers that wait for the next
	// daemon give up after 30 s.
	drainTimeout = 15 * time.Second
	// maintainInterval is the time between two calls of Maintain, after which a changed file or a failed DNS list is
	// noticed.
	maintainInterval = 10 * time.Second
	// firstMaintainTimeout is how long a new pipeline waits for its first Maintain before it is used.
	firstMaintainTimeout = 3 * time.Second
)

// daemon is a running daemon. serve opens its parts.
type daemon struct {
	file     string         // of the configuration; empty: the defaults
	mu       sync.Mutex     // guards cfg and waitingKeys
	cfg      *config.Config // in force
	log      *logrus.Logger
	output   *log.Output // where log writes
	started  time.Time
	resolver *resolver.Resolver
	store    *store.Store
	clock    *checks.Clock
	registry *rdap.Client
	records  *records.Log   // nil: none are kept
	signer   records.Signer // of links
	linkURL  string         // empty: replies have no links
	evidence *evidence.Collector
	mirror   *mirror.Collector
	outgoing atomic.Pointer[outgoing.Site] // nil: the mirror is off
	metrics  *web.Metrics
	history  *dashboard.History
	pipeline atomic.Pointer[checks.Pipeline]
	server   *milter.Server
	serving  atomic.Bool // mail servers can connect

	sentences profileSentences // of the overview

	waitingKeys []string // that the last reload changed, and that take effect at the next start

	reloadFailed atomic.Pointer[failedReload] // the last reload, if it failed
}

// config returns the configuration in force.
func (d *daemon) config() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg
}

// env returns what checks may use, without the site.
func (d *daemon) env() checks.Env {
	env := checks.Env{
		DNS:      d.resolver,
		Store:    d.store,
		Log:      logrus.NewEntry(d.log),
		Dial:     new(net.Dialer).DialContext,
		Registry: d.registry,
		Clock:    d.clock,
	}
	if d.evidence != nil {
		env.Senders = d.evidence
	}
	return env
}

// waiting returns the size of the records, the evidence and the log lines that wait to be written, in bytes.
func (d *daemon) waiting() int64 {
	size := d.evidence.Waiting() + d.mirror.Waiting() + d.output.Waiting()
	if d.records != nil {
		size += d.records.Waiting()
	}
	return int64(size)
}

// build returns the pipeline of a configuration.
func (d *daemon) build(cfg *config.Config) (*checks.Pipeline, error) {
	return newPipeline(cfg, d.env(), func(o *checks.Options) {
		o.Announce, o.Took, o.Clock = d.resolver, d.metrics.Took, d.clock
		d.recordOptions(o)
	})
}

// journal returns what receives the decisions of the server.
func (d *daemon) journal() milter.Journal {
	js := journals{log.Journal{Log: d.log}, d.metrics, d.evidence, d.mirror, d.history}
	if d.records != nil {
		js = append(js, d.records)
	}
	return js
}

// journals passes decisions to several journals.
type journals []milter.Journal

// Decided implements milter.Journal.
func (js journals) Decided(r *checks.Request, d checks.Decision) {
	for _, j := range js {
		j.Decided(r, d)
	}
}

// Accepted implements milter.Journal.
func (js journals) Accepted(r *checks.Request) {
	for _, j := range js {
		j.Accepted(r)
	}
}

// usePipeline puts a pipeline in force, after its first Maintain.
func (d *daemon) usePipeline(ctx context.Context, p *checks.Pipeline) {
	ctx, cancel := context.WithTimeout(ctx, firstMaintainTimeout)
	defer cancel()
	p.Maintain(ctx, time.Now())
	d.pipeline.Store(p)
}

// maintain calls Maintain of the current pipeline regularly until stop is called.
func (d *daemon) maintain() (stop func()) {
	return inBackground(func(ctx context.Context) {
		periodic.Run(ctx, maintainInterval, maintainInterval, func(ctx context.Context) {
			d.pipeline.Load().Maintain(ctx, time.Now())
		})
	})
}

// run serves until ctx is done or a listener fails, then drains.
func (d *daemon) run(ctx context.Context, lns []net.Listener, hup <-chan os.Signal) error {
	failed := make(chan error, len(lns))
	d.serving.Store(true) // before the line "ready": whoever reads it may ask /readyz
	for _, ln := range lns {
		d.log.WithField("listen", ln.Addr().Network()+":"+ln.Addr().String()).Info("listening")
	}
	d.log.WithFields(logrus.Fields{
		"version": version(), "hostname": d.cfg.Hostname, "profile": d.cfg.Profile.String(),
	}).Info("ready")
	for _, ln := range lns {
		go func() { failed <- d.server.Serve(ln) }()
	}
	go d.reloadWhenAsked(ctx, hup)
	notify(sd.SdNotifyReady)
	watchdog := watchdog()
	for {
		select {
		case <-ctx.Done():
			d.drain()
			return nil
		case err := <-failed:
			d.drain()
			return err
		case <-watchdog:
			notify(sd.SdNotifyWatchdog)
		}
	}
}

// drain waits for the messages in flight.
func (d *daemon) drain() {
	notify(sd.SdNotifyStopping)
	d.serving.Store(false)
	d.log.WithField("connections", d.server.Connections()).Info("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := d.server.Shutdown(ctx); err != nil {
		d.log.Warn("messages in flight were cut off")
	}
	d.log.Info("stopped")
}

// protect calls f and reports whether it returned. A panic is an error in the log and does not end the daemon.
func (d *daemon) protect(what string, f func()) bool {
	err := checks.Protect(func() error { f(); return nil })
	if p, ok := errors.AsType[*checks.PanicError](err); ok {
		d.log.WithFields(logrus.Fields{"in": what, "stack": string(p.Stack)}).Error(p)
	}
	return err == nil
}

// inBackground calls f in a goroutine. stop ends its context and waits until it returns.
func inBackground(f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f(ctx) })
	return func() { cancel(); running.Wait() }
}
