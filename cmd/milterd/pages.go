package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/net/netutil"

	"milterd/checks"
	"milterd/checks/counters"
	"milterd/checks/greylist"
	"milterd/cmd/milterd/internal/admin"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/evidence"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/store"
	"milterd/milter/web"
	"milterd/milter/web/dashboard"
)

// statusReport is what the command status prints.
type statusReport struct {
	Version     string             `json:"version"`
	Started     time.Time          `json:"started"`
	Profile     string             `json:"profile"`
	Connections int                `json:"connections"`
	LogDropped  uint64             `json:"log_dropped"` // lines that the log did not take in time
	Records     records.Stats      `json:"records"`
	Store       store.Status       `json:"store"`
	DNS         resolver.Stats     `json:"dns"`
	Checks      []checks.Condition `json:"checks"` // what they depend on
}

// The arguments of the functions.
type (
	clientArgs struct {
		Client string        `json:"client"`
		For    time.Duration `json:"for"`
		Why    string        `json:"why"`
	}
	whatArgs struct {
		What string `json:"what"`
		Max  int    `json:"max"` // 0: no limit
	}
)

// Bounds of the listeners of pages and commands. Anybody may open the pages for those whose mail was refused: they must not use up
// what mail needs.
const (
	maxReaders  = 200 // connections to one listener at a time; others wait
	pageTime    = 10 * time.Second
	pageHeaders = 16 << 10
)

// openPages starts to answer the commands, the operator's tools and those whose mail was refused. What cannot be made at its
// default place is a warning.
func (d *daemon) openPages(on config.Admin, explain config.Explain) (stop func(), err error) {
	var open []net.Listener
	stop = func() { closeAll(open) }
	for _, a := range []struct {
		key, address, usual, lost string
		listen                    func() (net.Listener, error)
		serve                     func(net.Listener) error
	}{
		{
			"admin.socket", on.Socket, config.DefaultAdminSocket, "the commands status, greylist, block, log and report will not find this daemon",
			func() (net.Listener, error) {
				// Without systemd nobody else makes the folder. If it cannot be made, listen says what is wrong.
				_ = os.MkdirAll(filepath.Dir(on.Socket), 0o755)
				return listen(config.Listener{Network: "unix", Address: on.Socket, Mode: 0o660})
			},
			func(ln net.Listener) error { return admin.Serve(ln, d.functions()) },
		},
		{
			"admin.listen", on.Listen, config.DefaultAdminListen, "there are no operator's pages, no health pages and no metrics",
			func() (net.Listener, error) { return net.Listen("tcp", on.Listen) },
			func(ln net.Listener) error {
				pages, err := d.adminPages()
				if err != nil {
					return err
				}
				return serveHTTP(ln, pages)
			},
		},
		{
			"explain.listen", explain.Listen, config.DefaultExplainListen, "there are no pages that explain refusals",
			func() (net.Listener, error) { return net.Listen("tcp", explain.Listen) },
			d.serveExplain,
		},
	} {
		if a.address == "" {
			continue
		}
		ln, err := a.listen()
		switch {
		case err != nil && a.address != a.usual:
			stop()
			return nil, fmt.Errorf("%s: %w", a.key, err)
		case err != nil:
			d.log.WithError(err).WithField(a.key, a.address).Warn(a.lost)
			continue
		}
		ln = netutil.LimitListener(ln, maxReaders)
		open = append(open, ln)
		go func() {
			if err := a.serve(ln); err != nil {
				d.log.WithError(err).WithField(a.key, a.address).Error(a.lost)
			}
		}()
	}
	return stop, nil
}

// serveHTTP answers on a listener until it is closed.
func serveHTTP(ln net.Listener, pages http.Handler) error {
	srv := &http.Server{
		Handler:     pages,
		ReadTimeout: pageTime, WriteTimeout: pageTime, IdleTimeout: time.Minute, MaxHeaderBytes: pageHeaders,
	}
	if err := srv.Serve(ln); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// adminPages are for the operator and the operator's tools. Whether the daemon is healthy may everybody know.
func (d *daemon) adminPages() (http.Handler, error) {
	cfg := d.config()
	c := dashboard.Config{
		Site: cfg.Hostname, Version: version(), Started: d.started, Profile: func() string { return d.config().Profile.String() }, Components: d.components(), Problems: d.problems,
		History: d.history, Operator: operator{d}, Evidence: d.reports, Log: logrus.NewEntry(d.log),
	}
	if d.explain.book != nil {
		c.Book = d.explain.book
	}
	pages, err := dashboard.New(c)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", pages)
	mux.Handle("GET /metrics", d.metrics.Handler())
	outer := http.NewServeMux()
	outer.Handle("/", dashboard.Guard{Password: cfg.Admin.Password, Hosts: []string{cfg.Hostname}}.Protect(mux))
	health := web.Health(d.problems)
	outer.Handle("/healthz", health)
	outer.Handle("/readyz", health)
	return outer, nil
}

// components gives the metrics and the operator's pages access to the state of the components.
func (d *daemon) components() web.Components {
	return web.Components{
		Connections: func() int { return d.server.Connections() },
		LogDropped:  d.output.Dropped,
		Records:     d.recorded,
		Store:       d.store.Status,
		DNS:         d.resolver.Stats,
		Checks:      d.conditions,
	}
}

// conditions returns the state of what the checks depend on, and of the clock.
func (d *daemon) conditions() []checks.Condition {
	list := d.pipeline.Load().Report()
	if why := d.clock.Doubt(time.Now()); why != "" {
		list = append(list, checks.Condition{Check: "msgfields", Name: "clock", State: "doubted", Why: why})
	}
	return list
}

// problems are what an operator should look at.
func (d *daemon) problems() []string {
	if s := d.store.Status(); !s.OK {
		return []string{fmt.Sprintf("the store is down since %s: %s", s.Since.UTC().Format(time.RFC3339), s.Error)}
	}
	return nil
}

// functions are what the daemon does for commands.
func (d *daemon) functions() map[string]admin.Func {
	return map[string]admin.Func{
		"status": func(context.Context, func(any) error) (any, error) {
			return statusReport{
				Version: version(), Started: d.started, Profile: d.config().Profile.String(), Connections: d.server.Connections(),
				LogDropped: d.output.Dropped(), Records: d.recorded(), Store: d.store.Status(), DNS: d.resolver.Stats(), Checks: d.conditions(),
			}, nil
		},
		"block/list": func(ctx context.Context, _ func(any) error) (any, error) {
			return counters.Blocks(ctx, d.store, time.Now())
		},
		"block/add": with(func(ctx context.Context, a clientArgs) (any, error) {
			return d.block(ctx, a.Client, a.For, a.Why)
		}),
		"block/remove": with(func(ctx context.Context, a clientArgs) (any, error) {
			return d.unblock(ctx, a.Client)
		}),
		"greylist/list": with(func(ctx context.Context, a whatArgs) (any, error) {
			list := []greylist.Triplet{}
			for t, err := range greylist.List(ctx, d.store, time.Now(), a.What) {
				if err != nil {
					return nil, err
				}
				if list = append(list, t); a.Max > 0 && len(list) >= a.Max {
					break
				}
			}
			return list, nil
		}),
		"greylist/show": with(func(ctx context.Context, a whatArgs) (any, error) {
			return greylist.Show(ctx, d.store, time.Now(), a.What)
		}),
		"greylist/allow": with(func(ctx context.Context, a whatArgs) (any, error) {
			return greylist.Allow(ctx, d.store, time.Now(), a.What)
		}),
		"greylist/forget": with(func(ctx context.Context, a whatArgs) (any, error) {
			return greylist.Forget(ctx, d.store, a.What)
		}),
		"log": with(d.find),
		"report/retry": func(ctx context.Context, _ func(any) error) (any, error) {
			return greylist.Retry(ctx, d.store, time.Now())
		},
		"report/watch":  evidenceReport(d, (*evidence.Collector).Watch),
		"report/action": evidenceReport(d, (*evidence.Collector).Action),
	}
}

// with decodes the arguments of a function.
func with[A any](f func(context.Context, A) (any, error)) admin.Func {
	return func(ctx context.Context, decode func(any) error) (any, error) {
		var a A
		if err := decode(&a); err != nil {
			return nil, err
		}
		return f(ctx, a)
	}
}

// parseClient reads an address or a network.
func parseClient(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return counters.ClientOf(a), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no address and no network", text)
	}
	return p, nil
}
