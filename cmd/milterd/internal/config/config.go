// Package config loads, checks and documents the configuration file of milterd, which is YAML.
//
// All keys are optional. All faults are reported at once, each with its position, the value and what to do. The structs in
// keys.go are the source of the keys, their documentation and their defaults. The settings of a check come from its
// checks.Info.
//
// Load reads a file in three steps: document.go parses the text, decode.go fills the structs of keys.go, and compile.go makes
// the Config of them. All three report to problems.go. WriteReference, in reference.go, writes the file that documents every
// key. Start reading with keys.go.
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
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// Config is a configuration without faults, in which defaults, profiles and files of recipients are resolved. It is not
// changed after Load and is safe for concurrent use.
type Config struct {
	Text           []byte     // of the file
	Listen         []Listener // at least one
	Hostname       string     // lower case, no trailing dot; if not given, that of the machine after Load, empty after Parse
	LocalDomains   []string   // A-labels, lower case, no trailing dot
	Profile        checks.Profile
	Policy         checks.Options // without the fields that the driver sets
	MaxConnections int
	Memory         int64 // bytes; 0: no limit
	DNS            DNS
	Store          Store
	Explain        Explain
	Admin          Admin
	Records        Records
	Mirror         Mirror
	Log            Log
	RecipientFiles []string // paths of the files of recipients

	settings []settings // of the checks, in the order of the registry
	decoder  *decoder   // of the file, for the places of its keys; nil if Parse did not make the Config
	places   map[Listener]Problem
}

// Given reports whether the file has a key.
func (cfg *Config) Given(key string) bool { return cfg.decoder != nil && cfg.decoder.given(key) }

// Place returns a problem of a key, without a text. It has a line if the file has the key.
func (cfg *Config) Place(key string) Problem {
	switch {
	case cfg.decoder == nil:
		return Problem{Path: key}
	case !cfg.Given(key):
		return Problem{File: cfg.decoder.file, Path: key}
	}
	return cfg.decoder.place(key)
}

// PlaceOf returns a problem of an entry of Listen, without a text. It is the zero value for another socket.
func (cfg *Config) PlaceOf(l Listener) Problem { return cfg.places[l] }

// Admin configures how commands and the operator's tools reach the daemon, see Config.Given.
type Admin struct {
	Listen   string // "host:port" of the operator's pages, metrics and health; empty for none
	Socket   string // path; empty for none
	Password string // for the pages and metrics; if it is empty, Listen is a loopback address
}

// Log configures the log.
type Log struct {
	Level    logrus.Level
	JSON     bool
	Syslog   bool // log to syslog, not to standard error
	Facility syslog.Priority
}

// maxFile is the maximum size of a configuration file in bytes.
const maxFile = 4 << 20

// mayRead says what lets this process, which may be the daemon, read a file.
func mayRead() string {
	u, err := user.Current()
	if err != nil {
		return "run the command as root"
	}
	return fmt.Sprintf("run the command as root, or let the user %s read the file: chgrp its group, and chmod 640", quote(u.Username))
}

// Load loads the configuration file at path. If path is empty, the configuration is the defaults. The Config is nil if one of
// the problems is an error.
func Load(path string, registry []checks.Info) (*Config, Problems) {
	var text []byte
	if path != "" {
		var err error
		if text, err = readStart(path); err != nil {
			remedy := ""
			switch {
			case errors.Is(err, fs.ErrPermission):
				remedy = "; " + mayRead()
			case errors.Is(err, fs.ErrNotExist):
				remedy = "; correct the path, or write the file as milterd.yaml(5) says"
			}
			return nil, Problems{{File: path, Text: printable("cannot read the file: " + cause(err).Error() + remedy)}}
		}
	}
	cfg, problems := Parse(path, text, registry)
	if cfg == nil || cfg.Hostname != "" {
		return cfg, problems
	}
	cfg.Hostname = machineName()
	if !strings.Contains(cfg.Hostname, ".") {
		problems = append(problems, Problem{File: path, Path: "hostname", Warning: true, Text: printable(fmt.Sprintf(
			"the name of the machine, %s, is not fully qualified; set hostname to the name with which the MTA greets", quote(cfg.Hostname)))})
		problems.sort(path)
	}
	return cfg, problems
}

// AdminSocket returns the path of the admin socket that the configuration file at path names, or DefaultAdminSocket if
// it names none or cannot be read. Errors of other keys do not matter. It returns "" if the file turns the socket off.
func AdminSocket(path string, registry []checks.Info) string {
	text, err := readStart(path)
	if err != nil {
		return DefaultAdminSocket
	}
	report := &report{file: path}
	d, f := newDecoder(report, registry), defaults(registry)
	root, ok := report.document(text)
	if !ok || !d.root(root, &f) || d.rejected["admin"] || d.rejected["admin.socket"] {
		return DefaultAdminSocket
	}
	socket := strings.TrimPrefix(f.Admin.Socket, "unix:")
	if socket != "" && !filepath.IsAbs(socket) {
		return DefaultAdminSocket
	}
	return socket
}

// Parse parses the text of a configuration file. name is the name of the file, for the problems and for relative paths of
// other files, which Parse reads. The Config is nil if one of the problems is an error.
func Parse(name string, text []byte, registry []checks.Info) (*Config, Problems) {
	return parse(name, text, registry, readRegular)
}

// parse is Parse with a function that reads the other files.
func parse(name string, text []byte, registry []checks.Info, read readFile) (*Config, Problems) {
	report := &report{file: name}
	d := newDecoder(report, registry)
	f := defaults(registry)
	var cfg *Config
	if root, ok := report.document(text); ok && d.root(root, &f) {
		c := &compiler{decoder: d, file: &f, dir: filepath.Dir(name), read: read}
		cfg = c.config()
		cfg.Text = text
	}
	if report.errors > 0 {
		cfg = nil
	}
	return cfg, report.finish()
}

// readFile reads a whole file that the configuration names.
type readFile func(path string) ([]byte, error)

// maxRecipientFile is the maximum size of a file of recipients in bytes.
const maxRecipientFile = 32 << 20

// readRegular reads a file of up to maxRecipientFile. It refuses devices and pipes, which may have no end.
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

// readStart reads up to a byte more than maxFile, so that Parse sees whether the file is too large. The file may be a pipe.
func readStart(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// cause returns the error of a file operation without the operation and the path, which the caller names.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// machineName returns the fully qualified name of this machine, as hostname -f does. It returns the short name if there is
// no other.
func machineName() string {
	const timeout = 2 * time.Second
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	if !strings.Contains(name, ".") {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if full, err := net.DefaultResolver.LookupCNAME(ctx, name); err == nil && full != "" {
			name = full
		}
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
