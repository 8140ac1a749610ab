package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
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
	"milterd/checks/counters"
	"milterd/cmd/milterd/internal/admin"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/records"
	"milterd/milter/store"
	"milterd/milter/web"
	"milterd/milter/web/dashboard"
)

var missingPTR = &checks.Reason{ID: "rdns-missing", Reply: checks.Reply{Code: 550, Enhanced: "5.7.25"}}

// withRecords returns a daemon that keeps records in memory.
func withRecords(t *testing.T, change func(*config.Config)) *daemon {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	d := &daemon{log: log, store: store.NewMemory(nil)}
	t.Cleanup(func() { _ = d.store.Close() })
	d.metrics = web.NewMetrics(all.Checks, version(), d.components())
	d.history = dashboard.NewHistory(all.Checks, checks.PipelineReasons())
	cfg := &config.Config{
		Explain: config.Explain{URL: "https://mx.example.org", Key: filepath.Join(t.TempDir(), "explain.key")},
		Records: config.Records{Keep: 24 * time.Hour, Max: 100},
	}
	if change != nil {
		change(cfg)
	}
	d.cfg = cfg
	if err := d.openRecords(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.closeRecords)
	env := checks.Env{DNS: checktest.NewZone(t, ""), Store: d.store, Log: logrus.NewEntry(log)}
	d.evidence = openEvidence(env, func() *config.Config { return cfg }, time.Now)
	t.Cleanup(func() { d.evidence.Close(time.Second) })
	return d
}

func TestLinksOfReplies(t *testing.T) {
	t.Parallel()
	d := withRecords(t, nil)
	var o checks.Options
	d.explain.options(&o)
	now := time.Now()
	id, link := o.Link(missingPTR, now)
	const start = "https://mx.example.org/why/rdns-missing?r="
	if got, err := d.explain.signer.Verify(strings.TrimPrefix(link, start), "rdns-missing", now, time.Hour); err != nil || got != id || id == "" || o.Trace != checks.TraceMatched {
		t.Errorf("%s: %q, %v", link, got, err)
	}

	o = checks.Options{}
	withRecords(t, func(c *config.Config) { c.Explain.URL = "" }).explain.options(&o)
	if o.Link != nil || o.Trace != checks.TraceMatched {
		t.Error("want no links and a trace")
	}

	o = checks.Options{}
	none := withRecords(t, func(c *config.Config) { c.Records.Max = 0 })
	none.explain.options(&o)
	if id, link := o.Link(missingPTR, now); id != "" || link != strings.TrimSuffix(start, "?r=") || o.Trace != checks.TraceNone {
		t.Errorf("without records: %q, %q, %v", id, link, o.Trace)
	}
	if with, without := len(d.journal().(journals)), len(none.journal().(journals)); without != with-1 {
		t.Errorf("%d journals with records, %d without", with, without)
	}
}

// TestSigningKey tests that the key is made where the configuration says, and only if there is a URL to sign.
func TestSigningKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	given, inStore := filepath.Join(dir, "k"), filepath.Join(dir, "explain.key")
	withRecords(t, func(c *config.Config) { c.Explain.Key = given })
	withRecords(t, func(c *config.Config) { c.Explain.Key, c.Store.Path = "", dir })
	for _, path := range []string{given, inStore} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", path, err)
		}
	}
	unused := filepath.Join(dir, "unused")
	withRecords(t, func(c *config.Config) { c.Explain.Key, c.Explain.URL = unused, "" })
	if _, err := os.Stat(unused); err == nil {
		t.Error("made a key without a URL")
	}
	if err := os.WriteFile(given, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &daemon{log: logrus.New(), store: store.NewMemory(nil)}
	defer func() { _ = d.store.Close() }()
	if err := d.openRecords(&config.Config{Explain: config.Explain{URL: "https://x", Key: given}, Records: config.Records{Max: 1}}); err == nil || !strings.Contains(err.Error(), "explain.key") {
		t.Errorf("short key: %v", err)
	}
}

// TestRepairLiftsBlock tests that a repaired fault lifts a block for refused mail, and no other block.
func TestRepairLiftsBlock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, limits string
		lifted       bool
	}{
		{"none", "", false},
		{"refused mail", `{"limit":"too-many-errors","since":%s,"until":%u}`, true},
		{"refused mail and unknown recipients", `{"limit":"too-many-errors","since":%s,"until":%u},{"limit":"too-many-bad-recipients","since":%s,"until":%u}`, false},
		{"unknown recipients", `{"limit":"too-many-bad-recipients","since":%s,"until":%u}`, false},
		{"by hand", `{"since":%s,"until":%u}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := withRecords(t, nil)
			ctx, now := context.Background(), time.Now()
			unix := func(at time.Time) string { b, _ := json.Marshal(at.Unix()); return string(b) }
			if c.limits != "" {
				spans := strings.NewReplacer("%s", unix(now), "%u", unix(now.Add(time.Hour))).Replace(c.limits)
				if err := d.store.Put(ctx, "counters:block:192.0.2.9/32", []byte(`{"v":1,"inforce":true,"spans":[`+spans+`]}`), time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			lifted, err := tester{d}.Repaired(ctx, records.Record{Client: netip.MustParseAddr("192.0.2.9")})
			if err != nil || lifted != c.lifted {
				t.Errorf("%v, %v", lifted, err)
			}
			left, err := counters.Blocks(ctx, d.store, now)
			if err != nil || (len(left) == 0) != (c.lifted || c.limits == "") {
				t.Errorf("%+v, %v", left, err)
			}
		})
	}
	if lifted, err := (tester{withRecords(t, nil)}).Repaired(context.Background(), records.Record{}); lifted || err != nil {
		t.Error(lifted, err)
	}
}

// TestLogCommand runs milterd log with a daemon in this process.
func TestLogCommand(t *testing.T) {
	t.Parallel()
	d := withRecords(t, nil)
	s := &checks.Session{ID: "s1", Time: time.Now(), Client: netip.MustParseAddr("192.0.2.9"), Helo: "evil\x1b[2J\n.example"}
	s.Envelope.MailFrom = checks.ParseAddress("ann@example.com")
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@example.org")}}
	id, link := d.explain.link(missingPTR, s.Time)
	o := checks.Outcome{Check: "rdns", Reason: missingPTR, Action: checks.Reject, Reply: checks.Reply{Code: 550, Enhanced: "5.7.25", Text: "no name", Link: link}}
	d.journal().Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{
		Reply: &o.Reply, Reason: missingPTR, Action: checks.Reject, Record: id, Outcomes: []checks.Outcome{o},
		Results: []checks.Result{{Check: "rdns", Outcomes: []checks.Outcome{o}}},
	})
	d.journal().Accepted(checks.NewRequest(s, checks.EndOfHeader))
	for d.recorded().Written < 2 {
		time.Sleep(time.Millisecond)
	}
	dir, err := os.MkdirTemp("", "milterd")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	socket := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { _ = admin.Serve(ln, map[string]admin.Func{"log": with(d.find)}) }()

	for _, c := range []struct {
		args   string
		code   int
		has    []string
		misses string
	}{
		{"", 0, []string{"ACTION", "reject  rdns-missing  192.0.2.9  evil?[2J .example  <ann@example.com>  <bob@example.org>  s1", "accept  -"}, "\x1b"},
		{"--action accept", 0, []string{"accept"}, "reject"},
		{"--reason rdns-missing --sender example.com --rcpt bob@example.org --client 192.0.2.0/24 --since 1h", 0, []string{"reject"}, "accept"},
		{"--sender other.example", 0, []string{"no records"}, "reject"},
		{"--max 1", 0, []string{"192.0.2.9"}, "zzz"},
		{"--ref " + link, 0, []string{"550 5.7.25 no name", "connect: rdns-missing"}, "TIME"},
		{"--ref " + id, 0, []string{"550 5.7.25 no name"}, "TIME"},
		{"--json --reason rdns-missing", 0, []string{`"id":"` + id + `"`, `"checks":[{"check":"rdns"`}, "accept"},
		{"--since soon", 1, []string{"--since: "}, "reject"},
		{"--ref x", 1, []string{"--ref: "}, "reject"},
		{"word", 1, []string{"unknown command"}, "reject"},
	} {
		var out bytes.Buffer
		args := append([]string{"log", "--socket", socket}, strings.Fields(c.args)...)
		if code := run(t.Context(), args, &out, &out); code != c.code {
			t.Errorf("%s: exit code %d: %s", c.args, code, &out)
		}
		for _, want := range c.has {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", c.args, want, &out)
			}
		}
		if strings.Contains(out.String(), c.misses) {
			t.Errorf("%s: %q in\n%s", c.args, c.misses, &out)
		}
	}
	if _, err := withRecords(t, func(c *config.Config) { c.Records.Max = 0 }).find(context.Background(), logArgs{}); err == nil {
		t.Error("no error although no records are kept")
	}
}
