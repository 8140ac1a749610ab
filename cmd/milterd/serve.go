package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter"
	"milterd/milter/evidence"
	"milterd/milter/log"
	"milterd/milter/rdap"
	"milterd/milter/resolver"
	"milterd/milter/store"
	"milterd/milter/web"
	"milterd/milter/web/dashboard"
)

const (
	// drainPatience is how long a stopping daemon waits for the messages in flight; in the second half of it none begins any
	// more. Mail servers that wait for the next daemon give up after 30 s.
	drainPatience = 15 * time.Second
	// maintainEvery is how often the checks are asked whether something is due beside the sessions, and maintainFirst how long a
	// configuration waits for that before it is used.
	maintainEvery = 10 * time.Second
	maintainFirst = 3 * time.Second
	// logPatience is how long it then waits for the log.
	logPatience = 2 * time.Second
)

func newServe(configFile *string) *cobra.Command {
	var listen []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve mail servers (the default command)",
		Long: `Serve mail servers over the milter protocol until SIGTERM or SIGINT, which lets the messages in flight end.
SIGHUP reads the configuration again; if there is an error in it, the old one stays in force.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), *configFile, listen, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringArrayVar(&listen, "listen", nil, "listen on `ADDRESS` (inet:PORT@HOST, inet6:PORT@HOST or unix:/PATH) instead of what the file says; may be repeated")
	return cmd
}

// daemon is what the parts of a running daemon share.
type daemon struct {
	file     string
	mu       sync.Mutex     // cfg
	cfg      *config.Config // as started, or as last reloaded
	log      *logrus.Logger
	output   *log.Output // of log
	started  time.Time
	resolver *resolver.Resolver
	store    *store.Store
	clock    *checks.Clock // lives on when the configuration is reloaded
	registry *rdap.Client
	explain  explainer
	evidence *evidence.Book
	metrics  *web.Metrics
	history  *dashboard.History
	pipeline atomic.Pointer[checks.Pipeline]
	server   *milter.Server
}

func serve(ctx context.Context, file string, listen []string, stderr io.Writer) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // at first: without, it would end a daemon that is about to start
	defer signal.Stop(hup)
	cfg, err := loadConfig(file, true, stderr)
	if err != nil {
		return err
	}
	wanted := cfg.Listen
	if len(listen) > 0 {
		wanted = nil
		for _, text := range listen {
			l, err := config.ParseListener(text)
			if err != nil {
				return fmt.Errorf("--listen: %w", err)
			}
			wanted = append(wanted, l)
		}
	}
	output := openLog(cfg.Log, stderr)
	defer func() {
		if lost := output.Close(logPatience); lost > 0 {
			fmt.Fprintf(stderr, "milterd: the log did not take the last %d lines\n", lost)
		}
	}()
	d := &daemon{file: file, cfg: cfg, log: output.Logger(cfg.Log.Level), output: output, started: time.Now()}
	stdlog.SetFlags(0)
	stdlog.SetOutput(debugWriter{d.log}) // go-milter's word on broken connections

	if d.resolver, err = newResolver(cfg.DNS); err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	defer d.resolver.Close()
	if d.store, err = openStore(cfg.Store, logrus.NewEntry(d.log)); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer d.store.Close()
	d.clock = checks.NewClock(d.started, buildTime(), func() time.Duration { return time.Since(d.started) })
	d.registry = rdap.New(d.store)
	if err := d.openRecords(cfg); err != nil {
		return err
	}
	defer d.closeRecords()
	d.evidence = openEvidence(d.env(), d.config, time.Now)
	defer d.evidence.Close(evidencePatience)
	d.metrics = web.NewMetrics(all.Checks, version(), d.components())
	d.history = dashboard.NewHistory(all.Checks, checks.PipelineReasons())
	stopSeeding := d.seedHistory()
	defer stopSeeding()
	p, err := d.build(cfg)
	if err != nil {
		return err
	}
	first, cancel := context.WithTimeout(ctx, maintainFirst)
	p.Maintain(first, time.Now())
	cancel()
	d.pipeline.Store(p)
	stopMaintaining := d.maintain()
	defer stopMaintaining()
	d.server = &milter.Server{
		Pipeline:       d.pipeline.Load,
		Journal:        d.journal(),
		Log:            logrus.NewEntry(d.log),
		NewID:          newID,
		MaxConnections: affordable(cfg.MaxConnections, d.log),
	}
	stopPages, err := d.openPages(cfg.Admin, cfg.Explain)
	if err != nil {
		return err
	}
	defer stopPages()
	lns, err := listeners(wanted, d.log) // the last thing: who can connect finds all of it there
	if err != nil {
		return err
	}
	return d.run(ctx, lns, hup)
}

// openLog starts the log: to syslog, or to standard error where there is none.
func openLog(c config.Log, stderr io.Writer) *log.Output {
	if c.Syslog {
		q, err := log.ToSyslog(c.Facility, c.JSON, stderr)
		if err == nil {
			fmt.Fprintln(stderr, "milterd: logging to syslog")
			return q
		}
		fmt.Fprintf(stderr, "milterd: no syslog at hand (%v), logging to standard error\n", err)
	}
	return log.ToWriter(stderr, c.JSON, true)
}

// debugWriter takes the lines that libraries write to the standard logger.
type debugWriter struct{ log *logrus.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}

// newID is a session id: 60 random bits, so that no two meet in any log.
func newID() string { return strings.ToLower(rand.Text()[:12]) }

// config is the configuration in force.
func (d *daemon) config() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg
}

// env is what checks may use, without the site.
func (d *daemon) env() checks.Env {
	return checks.Env{
		DNS: d.resolver, Store: d.store, Log: logrus.NewEntry(d.log), Dial: new(net.Dialer).DialContext,
		Registry: d.registry, Clock: d.clock,
	}
}

func (d *daemon) build(cfg *config.Config) (*checks.Pipeline, error) {
	return newPipeline(cfg, d.env(), func(o *checks.Options) {
		o.Announce, o.Took, o.Clock = d.resolver, d.metrics.Took, d.clock
		d.explain.options(o)
	})
}

// maintain calls Maintain of the current pipeline regularly until stop is called.
func (d *daemon) maintain() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var maintaining sync.WaitGroup
	maintaining.Go(func() {
		tick := time.NewTicker(maintainEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				each, done := context.WithTimeout(ctx, maintainEvery)
				d.pipeline.Load().Maintain(each, time.Now())
				done()
			}
		}
	})
	return func() { cancel(); maintaining.Wait() }
}

// run serves until ctx is done or a listener fails, then drains.
func (d *daemon) run(ctx context.Context, lns []net.Listener, hup <-chan os.Signal) error {
	failed := make(chan error, len(lns))
	for _, ln := range lns {
		d.log.WithField("listen", ln.Addr().Network()+":"+ln.Addr().String()).Info("listening")
	}
	d.log.WithFields(logrus.Fields{"version": version(), "hostname": d.cfg.Hostname, "profile": d.cfg.Profile.String()}).Info("ready")
	for _, ln := range lns {
		go func() { failed <- d.server.Serve(ln) }()
	}
	notify(sd.SdNotifyReady)
	watchdog := watchdogTicker()
	defer watchdog.Stop()
	for {
		select {
		case <-ctx.Done():
			return d.drain()
		case err := <-failed:
			_ = d.drain()
			return err
		case <-hup:
			d.reload()
		case <-watchdog.C:
			notify(sd.SdNotifyWatchdog)
		}
	}
}

// drain lets the messages in flight end. The service manager watches no daemon that is stopping.
func (d *daemon) drain() error {
	notify(sd.SdNotifyStopping)
	d.log.WithField("connections", d.server.Connections()).Info("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), drainPatience)
	defer cancel()
	if err := d.server.Shutdown(ctx); err != nil {
		d.log.Warn("messages in flight were cut off")
	}
	d.log.Info("stopped")
	return nil
}

// reload puts a new configuration in force for the connections to come, or keeps the old one.
func (d *daemon) reload() {
	notify(sd.SdNotifyReloading + "\n" + monotonic())
	defer notify(sd.SdNotifyReady)
	cfg, problems := config.Load(d.file, all.Checks)
	for _, p := range problems {
		e := d.log.WithField("problem", p.String())
		if p.Warning {
			e.Warn("configuration")
		} else {
			e.Error("configuration")
		}
	}
	if problems.Err() != nil {
		d.log.Error("reload failed: the old configuration stays in force")
		return
	}
	p, err := d.build(cfg)
	if err != nil {
		d.log.WithError(err).Error("reload failed: the old configuration stays in force")
		return
	}
	for key, same := range map[string]bool{
		"listen": reflect.DeepEqual(cfg.Listen, d.cfg.Listen), "dns": reflect.DeepEqual(cfg.DNS, d.cfg.DNS),
		"log":   cfg.Log.Syslog == d.cfg.Log.Syslog && cfg.Log.JSON == d.cfg.Log.JSON && cfg.Log.Facility == d.cfg.Log.Facility,
		"store": cfg.Store == d.cfg.Store, "admin": cfg.Admin == d.cfg.Admin,
		"explain": cfg.Explain == d.cfg.Explain, "records": cfg.Records == d.cfg.Records,
		"max_connections": cfg.MaxConnections == d.cfg.MaxConnections,
	} {
		if !same {
			d.log.WithField("key", key).Warn("this change takes effect at the next start")
		}
	}
	d.log.SetLevel(cfg.Log.Level)
	p.Reload(d.pipeline.Load())
	first, cancel := context.WithTimeout(context.Background(), maintainFirst)
	p.Maintain(first, time.Now()) // so that what is new is in use, if it can be
	cancel()
	d.pipeline.Store(p)
	// What takes effect at the next start is compared with what runs.
	running := *cfg
	running.Listen, running.DNS, running.Log, running.MaxConnections = d.cfg.Listen, d.cfg.DNS, d.cfg.Log, d.cfg.MaxConnections
	running.Store, running.Admin, running.Explain, running.Records = d.cfg.Store, d.cfg.Admin, d.cfg.Explain, d.cfg.Records
	d.mu.Lock()
	d.cfg = &running
	d.mu.Unlock()
	d.log.Info("configuration reloaded")
}
