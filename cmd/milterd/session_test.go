package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/session"
	"milterd/milter"
	"milterd/milter/evidence"
	"milterd/milter/log"
	"milterd/milter/resolver"
	"milterd/milter/resolver/dnstest"
	"milterd/milter/store"
)

// sessionFiles are the examples and the cases of reasons that lie beside their checks.
func sessionFiles(t *testing.T) []*session.Script {
	t.Helper()
	paths, err := filepath.Glob("../../examples/*.session")
	if err != nil || len(paths) < 5 {
		t.Fatalf("found %d session files: %v", len(paths), err)
	}
	cases, err := filepath.Glob("../../checks/*/testdata/*.session")
	if err != nil {
		t.Fatal(err)
	}
	var scripts []*session.Script
	for _, p := range append(paths, cases...) {
		s, err := session.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		scripts = append(scripts, s)
	}
	return scripts
}

func TestSessionsBySimulate(t *testing.T) {
	t.Parallel()
	for _, s := range sessionFiles(t) {
		t.Run(filepath.Base(s.Name), func(t *testing.T) {
			t.Parallel()
			if s.Zone == "" {
				s.Zone = "." // whatever the DNS answers: here it knows nothing
			}
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"simulate", s.Name}, &out, &errs); s.Zone != "." && code != 0 {
				t.Errorf("exit code %d\n%s%s", code, &out, &errs)
			}
		})
	}
}

// TestSessionsOverTheSocket plays them as a mail server would, over the milter protocol with a real DNS
// server behind: with questions asked ahead and without. Replies and log lines must be the same.
func TestSessionsOverTheSocket(t *testing.T) {
	t.Parallel()
	for _, s := range sessionFiles(t) {
		t.Run(filepath.Base(s.Name), func(t *testing.T) {
			t.Parallel()
			var transcripts []string
			for _, ahead := range []bool{true, false} {
				transcripts = append(transcripts, playOverSocket(t, s, ahead))
			}
			if transcripts[0] != transcripts[1] {
				t.Errorf("with questions asked ahead:\n%s\nwithout:\n%s", transcripts[0], transcripts[1])
			}
			id, _ := strings.CutSuffix(filepath.Base(s.Name), ".session")
			if strings.Contains(s.Name, "/checks/") && !strings.Contains(transcripts[0], "reason="+id+" action=reject") {
				t.Errorf("%s did not refuse:\n%s", id, transcripts[0])
			}
		})
	}
}

// playOverSocket returns the dialogue with the log.
func playOverSocket(t *testing.T, s *session.Script, ahead bool) string {
	t.Helper()
	d := startDaemon(t, s.Config, s.Zone, ahead)
	var transcript strings.Builder
	player := clocked{&session.Socket{Network: "tcp", Address: d.address, Timeout: 20 * time.Second}, &d.clock}
	wrong, err := session.Play(s, player, func(said string, reply []string) { printDialogue(&transcript, said, reply) })
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range wrong {
		t.Error(m)
	}
	d.stop()
	transcript.WriteString(d.log.String())
	return transcript.String()
}

// clocked sets the clock of the daemon with that of the script.
type clocked struct {
	*session.Socket
	clock *atomic.Pointer[time.Time]
}

func (c clocked) Time(t time.Time) { c.clock.Store(&t) }

// testDaemon is the daemon in this process, with a DNS of its own.
type testDaemon struct {
	address  string
	cfg      *config.Config
	dns      *dnstest.Server
	evidence *evidence.Collector
	clock    atomic.Pointer[time.Time] // nil: the real one
	log      bytes.Buffer              // complete after stop
	stop     func()
}

func (d *testDaemon) now() time.Time {
	if now := d.clock.Load(); now != nil {
		return *now
	}
	return time.Now()
}

func startDaemon(t testing.TB, configText []byte, zoneText string, ahead bool) *testDaemon {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startDaemonOn(t, ln, configText, zoneText, ahead)
}

func startDaemonOn(t testing.TB, ln net.Listener, configText []byte, zoneText string, ahead bool) *testDaemon {
	t.Helper()
	return startDaemonIn(t, ln, configText, zoneText, ahead, func(*testDaemon, *checks.Env) {})
}

// startDaemonIn starts one in an environment that is changed.
func startDaemonIn(
	t testing.TB, ln net.Listener, configText []byte, zoneText string, ahead bool, change func(*testDaemon, *checks.Env),
) *testDaemon {
	t.Helper()
	cfg, problems := config.Parse("test", configText, all.Checks)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	d := &testDaemon{cfg: cfg, dns: dnstest.Start(t, zoneText)}
	res, err := resolver.New(resolver.Config{Servers: []string{d.dns.Addr}, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(res.Close)
	output := log.ToWriter(&d.log, false, false)
	logger := output.Logger(cfg.Log.Level)
	records := store.NewMemory(d.now)
	t.Cleanup(func() { _ = records.Close() })
	env := checks.Env{DNS: res, Store: records, Log: logrus.NewEntry(logger)}
	change(d, &env)
	d.evidence = openEvidence(env, func() *config.Config { return cfg }, d.now)
	p, err := newPipeline(cfg, env, func(o *checks.Options) {
		if ahead {
			o.Announce = res
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Maintain(t.Context(), d.now())
	srv := &milter.Server{
		Pipeline: func() *checks.Pipeline { return p }, Journal: journals{log.Journal{Log: logger}, d.evidence}, Log: logrus.NewEntry(logger),
		NewID: func() string { return "id" },
		Now:   d.now,
	}
	d.address = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	d.stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx) // cuts off what a failed test left open
		if err := <-served; !errors.Is(err, milter.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		d.evidence.Close(5 * time.Second)
		output.Close(5 * time.Second)
	}
	return d
}

func TestSimulateJSON(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	args := []string{"simulate", "--json", "../../examples/client.session"}
	if code := run(t.Context(), args, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	for _, part := range []string{
		`{"reply":{"code":550,"enhanced":"5.7.25","text":"192.0.2.10 has no reverse DNS name"},"action":"reject","reason":"rdns-missing","checks":[{`,
		`"check":"rdns","stage":"connect","reason":"rdns-missing","action":"reject","error":"","ms":`,
	} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %s in\n%s", part, &out)
		}
	}
}

func TestSimulateTellsWrongReplies(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "wrong.session")
	writeFile(t, path, "-- zone --\n-- smtp --\nclient 192.0.2.1\nC: EHLO 192.0.2.1\nC: MAIL FROM:<>\nC: RCPT TO:<u@example.org>\nS: 250\n")
	var out bytes.Buffer
	if code := run(t.Context(), []string{"simulate", path}, &out, io.Discard); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if want := path + `:7: want the reply "250", got "501 5.5.2 `; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, &out)
	}
}

// TestSessionFileMistakes: a mistake is told with the line of the file, in whichever part it is.
func TestSessionFileMistakes(t *testing.T) {
	t.Parallel()
	const smtp = "-- smtp --\nclient 192.0.2.1\nC: EHLO a.example\n"
	for _, c := range []struct{ name, text, want string }{
		{"the configuration", "Title\n-- config --\nhostname: mx.example.org\nactionz: {}\n" + smtp, `:4:1: unknown key "actionz"`},
		{"the zone", "Title\n\n-- zone --\nmail.example.net. A nonsense\n" + smtp, "at line: 4:"},
		{"a directive of the zone", "-- zone --\n!DEAD example.net\n" + smtp, "zone: line 2: unknown directive"},
		{"the dialogue", smtp + "Q: what\n", ":4: \"Q: what\": want a line that starts with"},
		{"a client", "-- smtp --\nclient x.y\n", ":2: client \"x.y\": not an address"},
		{"no dialogue", "nothing\n", "no part \"smtp\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "bad.session")
			writeFile(t, path, c.text)
			var errs bytes.Buffer
			if code := run(t.Context(), []string{"simulate", path}, io.Discard, &errs); code != 1 || !strings.Contains(errs.String(), c.want) || !strings.Contains(errs.String(), path) {
				t.Errorf("exit code %d: %s", code, &errs)
			}
		})
	}
}
