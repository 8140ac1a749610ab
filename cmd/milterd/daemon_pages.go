package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/net/netutil"

	"milterd/cmd/milterd/internal/admin"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/sockets"
	"milterd/milter/evidence"
	"milterd/milter/web"
	"milterd/milter/web/dashboard"
)

// Limits of each listener of pages and commands. Anybody may open the pages for senders, and they must not use up
// what mail needs.
const (
	maxReaders  = 200 // connections; others wait
	pageTime    = 10 * time.Second
	pageHeaders = 16 << 10 // bytes
)

// endpoint is a listener for pages or commands.
type endpoint struct {
	key     string // in the configuration
	address string // empty: none
	missing string // what does not work without it
	listen  func() (net.Listener, error)
	handler http.Handler
	timeout time.Duration // of an answer
}

// endpoints returns the endpoints of a configuration.
func (d *daemon) endpoints(cfg *config.Config) ([]endpoint, error) {
	operatorPages, err := d.operatorPages(cfg)
	if err != nil {
		return nil, err
	}
	whyPages, err := d.whyPages()
	if err != nil {
		return nil, err
	}
	return []endpoint{{
		key:     "admin.socket",
		address: cfg.Admin.Socket,
		missing: "no command reaches this daemon",
		listen:  func() (net.Listener, error) { return listenAdmin(cfg.Admin.Socket) },
		handler: admin.Handler(d.functions()),
		timeout: admin.Timeout,
	}, {
		key:     "admin.listen",
		address: cfg.Admin.Listen,
		missing: "there are no operator's pages, health pages and metrics",
		listen:  func() (net.Listener, error) { return net.Listen("tcp", cfg.Admin.Listen) },
		handler: operatorPages,
		timeout: pageTime,
	}, {
		key:     "explain.listen",
		address: cfg.Explain.Listen,
		missing: "there are no pages that explain refusals",
		listen:  func() (net.Listener, error) { return net.Listen("tcp", cfg.Explain.Listen) },
		handler: whyPages,
		timeout: pageTime,
	}}, nil
}

// openPages opens the endpoints and serves them until stop is called. An address that cannot be opened is an
// error if the configuration has its key, and a warning if it is the default.
func (d *daemon) openPages(cfg *config.Config) (stop func(), err error) {
	endpoints, err := d.endpoints(cfg)
	if err != nil {
		return nil, err
	}
	var open []net.Listener
	stop = func() {
		for _, ln := range open {
			_ = ln.Close()
		}
	}
	for _, e := range endpoints {
		if e.address == "" {
			continue
		}
		ln, err := e.listen()
		switch {
		case err != nil && cfg.Given(e.key):
			stop()
			return nil, cfg.Place(e.key).Saying("cannot listen on %s: %s", e.address, sockets.Fault(err))
		case err != nil:
			d.log.WithField("error", sockets.Fault(err)).WithField(e.key, e.address).Warn(e.missing)
			continue
		}
		ln = netutil.LimitListener(ln, maxReaders)
		open = append(open, ln)
		go func() {
			if err := d.serveHTTP(ln, e.handler, e.timeout); err != nil {
				d.log.WithError(err).WithField(e.key, e.address).Error(e.missing)
			}
		}()
	}
	return stop, nil
}

// listenAdmin opens the admin socket. It makes the folder, which systemd does otherwise.
func listenAdmin(path string) (net.Listener, error) {
	_ = os.MkdirAll(filepath.Dir(path), 0o755) // Listen returns the error if there is no folder
	return sockets.Listen(config.Listener{Network: "unix", Address: path, Mode: 0o660})
}

// serveHTTP serves a listener until it is closed.
func (d *daemon) serveHTTP(ln net.Listener, handler http.Handler, timeout time.Duration) error {
	srv := &http.Server{
		Handler:        d.logPanics(handler),
		ReadTimeout:    pageTime,
		WriteTimeout:   timeout,
		IdleTimeout:    time.Minute,
		MaxHeaderBytes: pageHeaders,
	}
	if err := srv.Serve(ln); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// logPanics returns handler with an error in the log for each panic. What net/http logs has the level debug.
func (d *daemon) logPanics(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.protect(r.URL.Path, func() { handler.ServeHTTP(w, r) }) {
			panic(http.ErrAbortHandler) // ends the connection
		}
	})
}

// operatorPages returns the dashboard and the metrics, which are guarded, and the health pages, which are not.
func (d *daemon) operatorPages(cfg *config.Config) (http.Handler, error) {
	c := dashboard.Config{
		Site:       cfg.Hostname,
		Version:    version(),
		Started:    d.started,
		Profile:    func() string { return d.config().Profile.String() },
		Components: d.components(),
		Attention:  func() []string { return d.attention(d.conditions()) },
		Profiles:   func() []string { return d.sentences.get(time.Now(), d.profiles) },
		History:    d.history,
		Reasons:    reasonIDs(),
		Operator:   operator{daemon: d},
		Answer:     d.answer,
		Evidence: func(ctx context.Context) (evidence.WatchReport, evidence.ActionReport, error) {
			return d.reports(ctx, evidenceArgs{})
		},
		Mirror:   d.mirror.Report,
		Received: d.receivedReports,
		Log:      logrus.NewEntry(d.log),
	}
	if d.records != nil {
		c.Book = d.records
	}
	pages, err := dashboard.New(c)
	if err != nil {
		return nil, err
	}
	guarded := http.NewServeMux()
	guarded.Handle("/", pages)
	guarded.Handle("GET /metrics", d.metrics.Handler())
	mux := http.NewServeMux()
	mux.Handle("/", dashboard.Guard{Password: cfg.Admin.Password, Host: func() string { return d.config().Hostname }}.Protect(guarded))
	health := web.Health(d.problems, d.warnings)
	mux.Handle("/healthz", health)
	mux.Handle("/readyz", health)
	return mux, nil
}

// components gives the metrics and the dashboard access to the parts of the daemon.
func (d *daemon) components() web.Components {
	return web.Components{
		Connections: func() int { return d.server.Connections() },
		LogDropped:  d.output.Dropped,
		Records:     d.recordStats,
		Store:       d.store.Status,
		DNS:         d.resolver.Stats,
		Checks:      d.conditions,
		ConfigValid: func() bool { return d.reloadFailed.Load() == nil },
	}
}
