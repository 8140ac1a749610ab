package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/facts"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/resolver"
	"milterd/milter/store"
)

// loadConfig reads the configuration and prints what is wrong with it, warnings only if told to.
func loadConfig(path string, warnings bool, stderr io.Writer) (*config.Config, error) {
	cfg, problems := config.Load(path, all.Checks)
	for _, p := range problems {
		if warnings || !p.Warning {
			fmt.Fprintln(stderr, p)
		}
	}
	if problems.Err() != nil {
		return nil, errReported
	}
	return cfg, nil
}

func newResolver(c config.DNS) (*resolver.Resolver, error) {
	return resolver.New(resolver.Config{Servers: c.Servers, Timeout: c.Timeout})
}

// newPipeline makes the checks ready, in an environment without its site, and puts them under the configured policy.
func newPipeline(cfg *config.Config, env checks.Env, change func(*checks.Options)) (*checks.Pipeline, error) {
	instances, opts, err := newChecks(cfg, env)
	if err != nil {
		return nil, err
	}
	change(&opts)
	return checks.New(instances, opts)
}

// newChecks makes the checks ready, and what a pipeline of them needs to know of the configuration.
func newChecks(cfg *config.Config, env checks.Env) ([]checks.Instance, checks.Options, error) {
	env.Site, env.DNS = siteOf(cfg), checks.Traced(env.DNS)
	instances, err := cfg.Build(env)
	if err != nil {
		return nil, checks.Options{}, err
	}
	opts := cfg.Policy
	opts.Store = env.Store
	opts.TraceFields.AuthServID = cmp.Or(opts.TraceFields.AuthServID, cfg.Hostname)
	opts.ClientNamed = func(ctx context.Context, r *checks.Request, match func(string) bool) (bool, error) {
		return facts.ClientNamed(ctx, env, r, match)
	}
	return instances, opts, nil
}

func siteOf(cfg *config.Config) checks.Site {
	return checks.Site{Hostname: cfg.Hostname, LocalDomains: cfg.LocalDomains, Addresses: ownAddresses()}
}

// openStore opens the configured store. An embedded one whose folder the operator did not name may fail: the daemon then
// remembers in memory, and says so.
func openStore(c config.Store, log *logrus.Entry) (*store.Store, error) {
	sc := store.Config{Driver: c.Driver, Path: c.Path, URL: c.URL, Log: log}
	if c.Driver != "embedded" || c.Path != "" {
		return store.Open(sc)
	}
	path, err := stateFolder()
	if err == nil {
		sc.Path = path
		var s *store.Store
		if s, err = store.Open(sc); err == nil {
			return s, nil
		}
	}
	log.WithError(err).Warn("no state folder: what is remembered of clients is lost when the daemon ends")
	return store.Open(store.Config{Driver: "memory", Log: log})
}

// stateFolder is the first of the usual ones that can be written.
func stateFolder() (string, error) {
	candidates := []string{os.Getenv("STATE_DIRECTORY"), "/var/lib/milterd"}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		candidates = append(candidates, filepath.Join(dir, "milterd"))
	} else if home, err := os.UserHomeDir(); err == nil {
		candidates = append(candidates, filepath.Join(home, ".local", "state", "milterd"))
	}
	var errs []error
	for _, dir := range candidates {
		if dir == "" {
			continue
		}
		err := os.MkdirAll(dir, 0o750)
		if err == nil {
			err = unix.Access(dir, unix.W_OK)
		}
		if err == nil {
			return dir, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", dir, err))
	}
	return "", errors.Join(errs...)
}

// ownAddresses are those of this machine that others can send from or to.
func ownAddresses() []netip.Addr {
	var own []netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // helo-own-name then goes by names alone
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			own = append(own, p.Addr().Unmap())
		}
	}
	return own
}
