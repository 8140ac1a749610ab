package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/dkim"
	"milterd/checks/facts"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/outgoing"
	"milterd/milter/resolver"
	"milterd/milter/store"
)

const (
	// defaultConfigFile is the configuration file of commands without -c.
	defaultConfigFile = "/etc/milterd/milterd.yaml"
	// noConfigFile is the argument of -c that stands for the defaults.
	noConfigFile = "none"
)

// chosenFile returns the configuration file of a command: that of -c, or else the default one, or "" if there is none. A default file
// that cannot be read is returned too, so that reading it gives the error.
func chosenFile(flag, defaultFile string) string {
	if flag != "" {
		return flag
	}
	if _, err := os.Stat(defaultFile); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return defaultFile
}

// pathOf returns the path of a file that chosenFile returned, or "" for the defaults.
func pathOf(file string) string {
	if file == noConfigFile {
		return ""
	}
	return file
}

// loadConfig loads the configuration of a file that chosenFile returned. It prints the errors, the warnings if warnings is set, and a
// note if there is no file.
func loadConfig(file string, warnings bool, stderr io.Writer) (*config.Config, error) {
	if file == "" {
		fmt.Fprintf(stderr, "milterd: there is no %s: the built-in defaults apply\n", defaultConfigFile)
	}
	cfg, problems := config.Load(pathOf(file), all.Checks)
	if warnings && cfg != nil {
		problems = append(problems, adviceOn(cfg, pathOf(file))...)
	}
	return cfg, printProblems(problems, warnings, stderr)
}

// printProblems prints the errors of a configuration, and the warnings if warnings is set. It returns errReported if
// there is an error.
func printProblems(problems config.Problems, warnings bool, stderr io.Writer) error {
	for _, p := range problems {
		if warnings || !p.Warning {
			fmt.Fprintln(stderr, p)
		}
	}
	if problems.Err() != nil {
		return errReported
	}
	return nil
}

// newResolver returns the resolver of a configuration. log gets its panics and the name servers that deny all names; nil: they are not logged.
func newResolver(c config.DNS, log *logrus.Entry) (*resolver.Resolver, error) {
	return resolver.New(resolver.Config{Servers: c.Servers, Timeout: c.Timeout, Log: log})
}

// newPipeline returns the pipeline of a configuration. env has no site, and change adds to the options.
func newPipeline(cfg *config.Config, env checks.Env, change func(*checks.Options)) (*checks.Pipeline, error) {
	instances, opts, err := newChecks(cfg, env)
	if err != nil {
		return nil, err
	}
	change(&opts)
	return checks.New(instances, opts)
}

// newChecks returns the configured checks and the options of a pipeline.
func newChecks(cfg *config.Config, env checks.Env) ([]checks.Instance, checks.Options, error) {
	env = withConfig(env, cfg)
	env.DNS = checks.Traced(env.DNS)
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
	if env.Signatures > 0 {
		opts.Body = bodyFor(cfg, env)
	}
	return instances, opts, nil
}

// bodyFor returns the function for checks.Options.Body. No check sees the message of a trusted client, but the mirror judges its
// signatures if it leaves the site.
func bodyFor(cfg *config.Config, env checks.Env) func(*checks.Request) io.Writer {
	site := outgoing.Site{Env: env}
	return func(r *checks.Request) io.Writer {
		if r.Trusted() && !(cfg.Mirror.On && site.Leaves(r)) {
			return nil
		}
		return facts.Body(env, r)
	}
}

func siteOf(cfg *config.Config) checks.Site {
	return checks.Site{Hostname: cfg.Hostname, LocalDomains: cfg.LocalDomains, Addresses: ownAddresses()}
}

// withConfig returns env with the site and the number of DKIM signatures of a configuration.
func withConfig(env checks.Env, cfg *config.Config) checks.Env {
	env.Site = siteOf(cfg)
	if c, ok := cfg.Settings(dkim.Info.Name).(dkim.Settings); ok {
		env.Signatures = c.Signatures
	}
	return env
}

// openStore opens the configured store. If the default folder of the embedded store cannot be used, it opens a memory
// store and logs a warning.
func openStore(c config.Store, log *logrus.Entry) (*store.Store, error) {
	sc := store.Config{Driver: c.Driver, Path: c.Path, URL: c.URL, Log: log}
	if c.Driver != "embedded" || c.Path != "" {
		s, err := store.Open(sc)
		return s, withRemedy(err, c.Path)
	}
	path, err := stateFolder()
	if err == nil {
		sc.Path = path
		var s *store.Store
		if s, err = store.Open(sc); err == nil {
			return s, nil
		}
	}
	log.WithError(withRemedy(err, path)).Warn("the state folder cannot be used: greylisting, blocks and evidence are kept in memory and lost at the end")
	return store.Open(store.Config{Driver: "memory", Log: log})
}

// withRemedy adds to an error about the state folder what an operator can do. path may be empty. It names no command: chown -R of a
// wrong path does harm.
func withRemedy(err error, path string) error {
	u, errUser := user.Current()
	if errUser != nil || path == "" || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w; %s and all that is in it must belong to the user %s", err, path, u.Username)
}

// stateFolder returns the first of the default state folders that can be written.
func stateFolder() (string, error) {
	candidates := []string{os.Getenv("STATE_DIRECTORY"), "/var/lib/milterd"}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		candidates = append(candidates, filepath.Join(dir, "milterd"))
	} else if home, err := os.UserHomeDir(); err == nil {
		candidates = append(candidates, filepath.Join(home, ".local", "state", "milterd"))
	}
	var errs []error
	for i, dir := range candidates {
		if dir == "" || slices.Contains(candidates[:i], dir) {
			continue
		}
		err := os.MkdirAll(dir, 0o750)
		if err == nil {
			err = unix.Access(dir, unix.W_OK)
		}
		if err == nil {
			return dir, nil
		}
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		errs = append(errs, fmt.Errorf("%s: %w", dir, err))
	}
	return "", errors.Join(errs...)
}

// ownAddresses returns the addresses of this machine, without loopback and link-local ones.
func ownAddresses() []netip.Addr {
	var own []netip.Addr
	addrs, _ := net.InterfaceAddrs() // after an error, helo-own-name compares names only
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			own = append(own, p.Addr().Unmap())
		}
	}
	return own
}
