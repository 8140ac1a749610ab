package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/checktest"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/log"
	"milterd/milter/miltertest"
	"milterd/milter/records"
	"milterd/milter/store"
	"milterd/milter/web"
	"milterd/milter/web/dashboard"
)

var missingPTR = &checks.Reason{ID: "rdns-missing", Reply: checks.Reply{Code: 550, Enhanced: "5.7.25"}}

// newRecordingDaemon returns a daemon that keeps records in memory and serves nothing.
func newRecordingDaemon(t *testing.T, change func(*config.Config)) *daemon {
	t.Helper()
	quiet := log.Discard()
	d := &daemon{log: quiet.Logger, store: store.NewMemory(nil), started: time.Now()}
	t.Cleanup(func() { _ = d.store.Close() })
	d.metrics = web.NewMetrics(all.Checks, version(), d.components())
	d.history = dashboard.NewHistory()
	d.cfg = &config.Config{
		Hostname: "mx.example.org", LocalDomains: []string{"example.org"},
		Explain: config.Explain{URL: "https://mx.example.org", Key: filepath.Join(t.TempDir(), "explain.key")},
		Records: config.Records{Keep: 24 * time.Hour, Max: 100},
	}
	if change != nil {
		change(d.cfg)
	}
	if err := d.openRecords(d.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.closeRecords)
	env := checks.Env{DNS: checktest.NewZone(t, ""), Store: d.store, Log: quiet}
	d.evidence = openEvidence(env, d.config, time.Now)
	t.Cleanup(func() { d.evidence.Close(time.Minute) })
	d.openMirror()
	t.Cleanup(func() { d.mirror.Close(time.Minute) })
	return d
}

// awaitRecords waits until n records are in the store.
func awaitRecords(t *testing.T, d *daemon, n uint64) {
	t.Helper()
	_, _, _ = d.records.Get(t.Context(), "none") // a reader makes it write at once
	miltertest.Eventually(t, "the records are written", func() bool { return d.recordStats().Written >= n })
}

func TestLinksInReplies(t *testing.T) {
	t.Parallel()
	d := newRecordingDaemon(t, nil)
	var o checks.Options
	d.recordOptions(&o)
	now := time.Now()
	id, link := o.Link(missingPTR, now)
	const page = "https://mx.example.org/why/rdns-missing"
	got, err := d.signer.Verify(strings.TrimPrefix(link, page+"?r="), "rdns-missing", now, time.Hour)
	if err != nil || got != id || id == "" || o.Trace != checks.TraceMatched {
		t.Errorf("%s: %q, %v", link, got, err)
	}

	o = checks.Options{}
	newRecordingDaemon(t, func(c *config.Config) { c.Explain.URL = "" }).recordOptions(&o)
	if o.Link != nil || o.Trace != checks.TraceMatched {
		t.Error("links without a URL, or records without a trace")
	}

	o = checks.Options{}
	none := newRecordingDaemon(t, func(c *config.Config) { c.Records.Max = 0 })
	none.recordOptions(&o)
	if id, link := o.Link(missingPTR, now); id != "" || link != page || o.Trace != checks.TraceNone {
		t.Errorf("without records: %q, %q, %v", id, link, o.Trace)
	}
	if with, without := len(d.journal().(journals)), len(none.journal().(journals)); without != with-1 {
		t.Errorf("%d journals with records, %d without", with, without)
	}
}

// TestSigningKey tests in which file the key is made, and that it is made only if replies have links.
func TestSigningKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	given, inStore := filepath.Join(dir, "k"), filepath.Join(dir, "explain.key")
	newRecordingDaemon(t, func(c *config.Config) { c.Explain.Key = given })
	newRecordingDaemon(t, func(c *config.Config) { c.Explain.Key, c.Store.Path = "", dir })
	for _, path := range []string{given, inStore} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", path, err)
		}
	}
	unused := filepath.Join(dir, "unused")
	newRecordingDaemon(t, func(c *config.Config) { c.Explain.Key, c.Explain.URL = unused, "" })
	if _, err := os.Stat(unused); err == nil {
		t.Error("a key was made without a URL")
	}
	if err := os.WriteFile(given, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &daemon{log: logrus.New(), store: store.NewMemory(nil)}
	defer func() { _ = d.store.Close() }()
	cfg := &config.Config{Explain: config.Explain{URL: "https://x", Key: given}, Records: config.Records{Max: 1}}
	if err := d.openRecords(cfg); err == nil || !strings.Contains(err.Error(), "explain.key") {
		t.Errorf("a key that is too short: %v", err)
	}
}

// TestManyRecords tests that a report knows when it has not read all records.
func TestManyRecords(t *testing.T) {
	t.Parallel()
	d := newRecordingDaemon(t, func(cfg *config.Config) { cfg.Records.Max = 2 * recordPart })
	reason := &checks.Reason{ID: "rdns-missing"}
	began := time.Now()
	for range recordPart + 1 {
		s := &checks.Session{ID: "aaaaaaaaaaaa", Time: time.Now(), Client: netip.MustParseAddr("192.0.2.7")}
		s.Envelope.MailFrom = checks.ParseAddress("ann@example.com")
		decide(d, s, reason, checks.Watch, nil)
	}
	awaitRecords(t, d, recordPart+1)
	for most, want := range map[int]int{recordPart: recordPart, recordPart + 1: recordPart + 1, maxCounted: recordPart + 1} {
		n := 0
		reached, err := d.eachRecord(t.Context(), began.Add(-time.Minute), most, func(records.Record) { n++ })
		if err != nil || n != want || reached.IsZero() != (want > recordPart) || !reached.IsZero() && reached.Before(began.Truncate(time.Second)) {
			t.Errorf("at most %d: %d records, reached %v, %v", most, n, reached, err)
		}
	}
}
