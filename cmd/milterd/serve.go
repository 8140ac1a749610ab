package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	stdlog "log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/sockets"
	"milterd/milter"
	"milterd/milter/log"
	"milterd/milter/rdap"
	"milterd/milter/web"
	"milterd/milter/web/dashboard"
)

const (
	logTimeout   = 2 * time.Second // of a stopping daemon for its log
	flushTimeout = 2 * time.Second // of a stopping daemon for its records, for its evidence, and for the mirror
)

func newServe(configFile *string) *cobra.Command {
	var listen []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon that mail servers connect to",
		Long: `Run the daemon that mail servers connect to. SIGTERM or SIGINT stops it after the messages in flight. SIGHUP reloads the
configuration; if the new one has an error, the old one stays in force.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), *configFile, listen, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringArrayVar(&listen, "listen", nil,
		"listen on `ADDRESS` (inet:PORT@HOST, inet6:PORT@HOST or unix:/PATH) instead of those of the configuration; may be repeated")
	return cmd
}

// serve runs the daemon until ctx is done. It opens each part after those that the part needs, and the milter socket
// last.
func serve(ctx context.Context, file string, listen []string, stderr io.Writer) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before anything else: by default SIGHUP ends a program
	defer signal.Stop(hup)
	signal.Ignore(syscall.SIGPIPE) // the reader of standard error may end before the daemon
	logTo := stderr                // the log writes in the background, so it may wait for the reader
	stderr = newBoundedWriter(stderr, stderrTimeout)
	cfg, err := firstConfig(ctx, file, stderr)
	if cfg == nil {
		return err
	}
	wanted, err := listenersOf(cfg, listen)
	if err != nil {
		return err
	}
	output := openLog(cfg.Log, logTo, stderr)
	defer func() {
		if lost := output.Close(logTimeout); lost > 0 {
			fmt.Fprintf(stderr, "milterd: the last %d lines of the log are lost\n", lost)
		}
	}()
	d := &daemon{file: pathOf(file), cfg: cfg, log: output.Logger(cfg.Log.Level), output: output, started: time.Now()}
	stdlog.SetFlags(0)
	stdlog.SetOutput(debugWriter{d.log}) // go-milter logs broken connections there
	closeBackends, err := d.openBackends(cfg)
	defer closeBackends()
	if err != nil {
		return err
	}
	d.metrics = web.NewMetrics(all.Checks, version(), d.components())
	d.history = dashboard.NewHistory()
	stopSeeding := d.startSeeding()
	defer stopSeeding()
	p, err := d.build(cfg)
	if err != nil {
		return err
	}
	d.usePipeline(ctx, p)
	d.useMirror(cfg)
	stopMaintaining := d.maintain()
	defer stopMaintaining()
	d.server = d.newServer(cfg)
	tuneHeap(cfg.Memory)
	stopPages, err := d.openPages(cfg)
	if err != nil {
		return err
	}
	defer stopPages()
	lns, err := sockets.Open(wanted, cfg.PlaceOf, d.log)
	if err != nil {
		return err
	}
	return d.run(ctx, lns, hup)
}

// firstConfig loads the configuration. It returns neither a configuration nor an error if ctx ends first: the file may be a pipe, or on a
// file server that does not answer.
func firstConfig(ctx context.Context, file string, stderr io.Writer) (*config.Config, error) {
	type result struct {
		cfg *config.Config
		err error
	}
	loaded := make(chan result, 1)
	go func() {
		cfg, err := loadConfig(file, true, stderr)
		loaded <- result{cfg: cfg, err: err}
	}()
	select {
	case r := <-loaded:
		return r.cfg, r.err
	case <-ctx.Done():
		return nil, nil
	}
}

// listenersOf returns the listeners of the flag --listen, or else those of the configuration.
func listenersOf(cfg *config.Config, addresses []string) ([]config.Listener, error) {
	if len(addresses) == 0 {
		return cfg.Listen, nil
	}
	var list []config.Listener
	for _, text := range addresses {
		l, err := config.ParseListener(text)
		if err != nil {
			return nil, checks.BadArgument("--listen: %v", err)
		}
		list = append(list, l)
	}
	return list, nil
}

// openLog opens the log: syslog, or fallback if there is none. It prints to stderr which of them it opened.
func openLog(c config.Log, fallback, stderr io.Writer) *log.Output {
	if c.Syslog {
		q, err := log.ToSyslog(c.Facility, c.JSON, fallback)
		if err == nil {
			fmt.Fprintln(stderr, "milterd: logging to syslog")
			return q
		}
		fmt.Fprintf(stderr, "milterd: no syslog (%v), logging to standard error\n", err)
	}
	return log.ToWriter(fallback, c.JSON, true)
}

// debugWriter writes what libraries log to the debug level of the log.
type debugWriter struct{ log *logrus.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}

// openBackends opens the resolver, the store, the records, the evidence and the mirror. closeAll closes those that were opened,
// also after an error.
func (d *daemon) openBackends(cfg *config.Config) (closeAll func(), err error) {
	var closers []func()
	closeAll = func() {
		for _, c := range slices.Backward(closers) {
			c()
		}
	}
	if d.resolver, err = newResolver(cfg.DNS, logrus.NewEntry(d.log)); err != nil {
		return closeAll, fmt.Errorf("dns: %w", err)
	}
	closers = append(closers, d.resolver.Close)
	if d.store, err = openStore(cfg.Store, logrus.NewEntry(d.log)); err != nil {
		return closeAll, cfg.Place("store").Saying("%v", err)
	}
	closers = append(closers, func() { _ = d.store.Close() })
	d.clock = checks.NewClock(d.started, buildTime(), func() time.Duration { return time.Since(d.started) })
	d.registry = rdap.New(d.store)
	if err := d.openRecords(cfg); err != nil {
		return closeAll, err
	}
	closers = append(closers, d.closeRecords)
	d.evidence = openEvidence(d.env(), d.config, time.Now)
	closers = append(closers, func() { d.evidence.Close(flushTimeout) })
	d.openMirror()
	closers = append(closers, func() { d.mirror.Close(flushTimeout) })
	return closeAll, nil
}

// newServer returns the server of the daemon, which is not started.
func (d *daemon) newServer(cfg *config.Config) *milter.Server {
	return &milter.Server{
		Pipeline:       d.pipeline.Load,
		Journal:        d.journal(),
		Log:            logrus.NewEntry(d.log),
		NewID:          newID,
		MaxConnections: affordableConnections(cfg.MaxConnections, d.log),
		MaxMemory:      cfg.Memory,
		Waiting:        d.waiting,
	}
}

// sessionID is the length of the id of a session.
const sessionID = 12

// newID returns a session id of 60 random bits.
func newID() string { return strings.ToLower(rand.Text()[:sessionID]) }
