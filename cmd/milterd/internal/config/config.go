// Package config loads, checks and documents the YAML configuration of milterd.
//
// Every key is optional and every fault is reported at once, with its position and the nearest valid name. The structs
// in keys.go are the single source of the keys, their documentation and their defaults; the settings of each check come
// from its checks.Info.
package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/syslog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// Config is a checked configuration with everything resolved: defaults, profiles, files of recipients. It is never
// changed and safe for concurrent use.
type Config struct {
	Listen         []Listener // at least one
	Hostname       string     // lower case, no trailing dot; empty if not given: Load asks the machine, Parse does not
	LocalDomains   []string   // A-labels, lower case, no trailing dot
	Profile        checks.Profile
	Policy         checks.Options // all but Trace and Announce, which are the driver's
	MaxConnections int
	DNS            DNS
	Store          Store
	Explain        Explain
	Admin          Admin
	Records        Records
	Log            Log

	checks []settings
}

// DNS says whom to ask.
type DNS struct {
	Servers []string      // "address:port"; none: those of resolv.conf
	Timeout time.Duration // of one question to one server
}

// Store says where records are kept.
type Store struct {
	Driver string // "memory", "embedded" or "redis"
	Path   string // of the embedded one; empty: a default folder
	URL    string // of the Redis one
}

// Explain says where refused senders find out why. That the pages cannot be served at their default place is a warning, as for
// Admin.
type Explain struct {
	Listen string // "host:port" of the pages; empty: none
	URL    string // that replies link to, without a slash at its end; empty: no links
	Key    string // file; empty: in the state folder
}

// Records says how many decision records are kept.
type Records struct {
	Keep time.Duration
	Max  int // 0: none
}

// Admin says how commands and the operator's tools reach the daemon. What differs from the default was given by the operator:
// that it cannot be made is an error, else a warning.
type Admin struct {
	Listen   string // "host:port" of the operator's pages, metrics and health; empty: none
	Socket   string // empty: none
	Password string // for the pages and metrics; empty: none, and Listen is on loopback
}

// Log says what is logged where.
type Log struct {
	Level    logrus.Level
	JSON     bool
	Syslog   bool // to syslog, else to standard error
	Facility syslog.Priority
}

// maxFile is the most that is read of a configuration file, in octets.
const maxFile = 4 << 20

// Load reads the configuration file at path; without a path the configuration is the defaults. The Config is nil if one
// of the problems is an error.
func Load(path string, registry []checks.Info) (*Config, Problems) {
	var text []byte
	if path != "" {
		var err error
		if text, err = readStart(path); err != nil {
			return nil, Problems{{File: path, Text: tidy("cannot read it: " + cause(err).Error())}}
		}
	}
	cfg, problems := Parse(path, text, registry)
	if cfg == nil || cfg.Hostname != "" {
		return cfg, problems
	}
	cfg.Hostname = machineName()
	if !strings.Contains(cfg.Hostname, ".") {
		problems = append(problems, Problem{File: path, Path: "hostname", Warning: true,
			Text: tidy(fmt.Sprintf("the machine is called %s, which is no fully qualified name; give the one that the MTA greets with", quote(cfg.Hostname)))})
		problems.sort(path)
	}
	return cfg, problems
}

// Parse checks the text of a configuration file. The name stands in the problems; files that the text names are read,
// relative to the name's folder. The Config is nil if one of the problems is an error.
func Parse(name string, text []byte, registry []checks.Info) (*Config, Problems) {
	return parse(name, text, registry, readRegular)
}

// parse is Parse with the reader of other files as an input.
func parse(name string, text []byte, registry []checks.Info, read readFile) (*Config, Problems) {
	report := &report{file: name}
	d := &decoder{report: report, at: map[string]spot{}, keyAt: map[string]spot{}, broken: map[string]bool{}}
	f := defaults(registry)
	var cfg *Config
	if root, ok := report.document(text); ok && d.root(root, &f) {
		c := &compiler{decoder: d, file: &f, registry: registry, dir: filepath.Dir(name), read: read}
		cfg = c.config()
	}
	if report.errors > 0 {
		cfg = nil
	}
	return cfg, report.finish()
}

// readFile reads a whole file that the configuration names.
type readFile func(path string) ([]byte, error)

// maxRecipientFile is the most that a file of recipients may have, in octets.
const maxRecipientFile = 32 << 20

// readRegular reads a file of bounded size. Devices and pipes are refused: reading them might never end.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case info.Size() > maxRecipientFile:
		return nil, fmt.Errorf("larger than %d MiB", maxRecipientFile>>20)
	}
	return os.ReadFile(path)
}

// readStart reads as much of the configuration file as shows whether it is too large. It may be a pipe.
func readStart(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // was only read
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// cause is what went wrong, without the operation and the path that the caller names in its own words.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// machineName is the fully qualified name of this machine as far as it knows it, as hostname -f tells it.
func machineName() string {
	const patience = 2 * time.Second
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	if !strings.Contains(name, ".") {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if full, err := net.DefaultResolver.LookupCNAME(ctx, name); err == nil && full != "" {
			name = full
		}
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
