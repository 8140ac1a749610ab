package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/log"
	"milterd/milter/resolver/dnstest"
)

// TestResolverPanics tests that the log of the daemon has the panics of its resolver.
func TestResolverPanics(t *testing.T) {
	t.Parallel()
	server := dnstest.Start(t, "example.net. A 192.0.2.1\n")
	text := fmt.Sprintf("store: {driver: memory}\ndns: {servers: [%q]}\nexplain: {key: %s}\n", server.Addr, filepath.Join(t.TempDir(), "key"))
	cfg := parseConfig(t, text)
	var lines bytes.Buffer
	output := log.ToWriter(&lines, false, false)
	d := &daemon{cfg: cfg, log: output.Logger(logrus.ErrorLevel), started: time.Now()}
	closeBackends, err := d.openBackends(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.resolver.Announce([]checks.Query{{
		Question: checks.Ask("example.net", dns.TypeA), Then: func(checks.Answer) []checks.Query { panic("a hostile answer") },
	}})
	for end := time.Now().Add(time.Minute); d.resolver.Stats().Panics == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	closeBackends()
	output.Close(time.Minute)
	if got := lines.String(); !strings.Contains(got, "a hostile answer") || !strings.Contains(got, "stack=") {
		t.Errorf("the log has no panic with its stack: %s", got)
	}
}

// TestAuthServID tests that Authentication-Results have the configured authserv-id, or the hostname.
func TestAuthServID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{"": "mx.example.org", "filter.example.org": "filter.example.org"} {
		cfg := &config.Config{Hostname: "mx.example.org", Policy: checks.Options{TraceFields: checks.TraceFields{AuthServID: id}}}
		env := checktest.Env(t, "")
		env.Log = logrus.NewEntry(logrus.New())
		_, opts, err := newChecks(cfg, env)
		if err != nil || opts.TraceFields.AuthServID != want {
			t.Errorf("%q: %q, %v", id, opts.TraceFields.AuthServID, err)
		}
	}
}

// TestWithRemedy tests that an error about the permissions of the state folder says how to repair them, and no other error does.
func TestWithRemedy(t *testing.T) {
	t.Parallel()
	denied := &fs.PathError{Op: "open", Path: "/var/lib/milterd/LOCK", Err: fs.ErrPermission}
	for _, c := range []struct {
		name   string
		err    error
		path   string
		remedy bool
	}{
		{"no error", nil, "/var/lib/milterd", false},
		{"another error", fs.ErrNotExist, "/var/lib/milterd", false},
		{"no folder", denied, "", false},
		{"no permission", fmt.Errorf("store: %w", denied), "/var/lib/milterd", true},
	} {
		got := withRemedy(c.err, c.path)
		if !errors.Is(got, c.err) {
			t.Errorf("%s: %v", c.name, got)
		}
		if text := fmt.Sprint(got); strings.Contains(text, "; /var/lib/milterd and all that is in it must belong to the user ") != c.remedy {
			t.Errorf("%s: %s", c.name, text)
		}
	}
}
