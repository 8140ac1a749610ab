package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// asProgram is the environment variable with which the test binary runs as milterd.
const asProgram = "MILTERD_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// docsZone is the DNS of the documents. The client 192.0.2.9 is in order, 192.0.2.10 has no reverse DNS name, and the mirror
// finds nothing wrong with example.org. The mail host is at one
// of the few special addresses that are globally reachable.
const docsZone = `
mail.example.net.        A   192.0.2.9
9.2.0.192.in-addr.arpa.  PTR mail.example.net.
example.net.             MX  10 mx.example.net.
example.net.             TXT "v=spf1 ip4:192.0.2.9 -all"
mx.example.net.          A   192.0.0.9
mail.example.com.        A   192.0.2.10
example.com.             MX  10 mx.example.net.
example.com.             TXT "v=spf1 ip4:192.0.2.10 -all"
2.0.0.127.bl.example.    A   127.0.0.2
mx.example.org.          A   192.0.2.1
1.2.0.192.in-addr.arpa.  PTR mx.example.org.
example.org.             MX  10 mx.example.org.
example.org.             TXT "v=spf1 mx -all"
_dmarc.example.org.      TXT "v=DMARC1; p=quarantine; rua=mailto:postmaster@example.org"
mail._domainkey.example.org. TXT "v=DKIM1; k=ed25519; p=O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik="
`

// docsConfig is the configuration that the documents call /etc/milterd/milterd.yaml.
const docsConfig = `
listen: inet:%[1]d@127.0.0.1
hostname: mx.example.org
local_domains: [example.org]
dns: {servers: [%[2]q], timeout: 1s}
admin: {listen: "127.0.0.1:%[3]d", socket: %[4]s/admin.sock}
explain: {listen: "", url: "https://mx.example.org", key: %[4]s/explain.key}
store: {driver: memory}
mirror: {addresses: [192.0.2.1]}
log: {syslog: "off"}
checks:
  dnsbl:
    zones:
      - {zone: bl.example, codes: ["127.0.0.2"]}
`

// docsWorld is a running daemon that has judged some sessions, a folder with the files that the documents name, and milterd in
// $PATH. Commands of the documents run there.
type docsWorld struct {
	dir      string
	listener string // of the daemon, as in its configuration
	admin    string // address of the pages
	link     string // of the page of a refusal
	daemon   *miltertest.Process
}

// newDocsWorld starts a world until the end of the test.
func newDocsWorld(t *testing.T) *docsWorld {
	t.Helper()
	w := &docsWorld{dir: daemontest.SocketDir(t)}
	ports := freePorts(t, 2)
	w.listener, w.admin = fmt.Sprintf("inet:%d@127.0.0.1", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	w.writeFiles(t, fmt.Sprintf(docsConfig, ports[0], dnstest.Start(t, docsZone).Addr, ports[1], w.dir))

	w.daemon = serveProgram(t, w.path("etc/milterd/milterd.yaml"))
	network, addr := miltertest.SplitListener(w.listener)
	miltertest.Eventually(t, "the daemon listens", func() bool {
		conn, err := net.Dial(network, addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	w.playSessions(t)
	return w
}

func (w *docsWorld) path(name string) string { return filepath.Join(w.dir, name) }

// writeFiles writes the files that the documents name.
func (w *docsWorld) writeFiles(t *testing.T, config string) {
	t.Helper()
	const mail = "Return-Path: <alice@example.net>\nReceived: from mail.example.net (mail.example.net [192.0.2.9]) by mx.example.org (Postfix) with ESMTP id 1\n" +
		"\tfor <bob@example.org>; Sat, 21 Nov 2026 12:00:00 +0000\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nFrom: alice@example.net\n" +
		"To: bob@example.org\nMessage-ID: <1@example.net>\n\nHello.\n"
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"etc/milterd/milterd.yaml": config, "etc/milterd/deny.txt": "", "etc/milterd/allow.txt": "", "etc/milterd/lenient": "bob@example.org\n",
		"etc/milterd/strict-recipients": "carol@example.org\n", "work/mail.eml": mail, "home/Maildir/cur/1": mail, "home/Maildir/new/2": mail,
		"work/new.yaml": config + "profile: strict\n", "work/log.json": "[]",
	} {
		if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, w.path(name), text)
	}
	for _, dir := range []string{"bin", "home/Maildir/tmp"} {
		if err := os.MkdirAll(w.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(examples, w.path("work/examples")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(w.path("home/reports"), os.DirFS(forms)); err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`#!/bin/sh
case $1 in status | why | log | access | block | greylist | report | dmarc-reports) set -- "$@" --socket %[1]s/admin.sock ;; esac
case " $* " in *" -c "*) ;; *) set -- "$@" -c %[1]s/etc/milterd/milterd.yaml ;; esac
exec env %[2]s=1 GORACE=atexit_sleep_ms=0 %[3]s "$@"
`, w.dir, asProgram, program)
	miltertest.WriteProgram(t, w.path("bin/milterd"), []byte(script))
}

// playSessions has the daemon judge the session of "make run", and one whose delivery must wait. It keeps the link of a reply.
func (w *docsWorld) playSessions(t *testing.T) {
	t.Helper()
	for _, words := range []string{
		"--client 192.0.2.10 --helo 192.0.2.10 --from alice@example.net --rcpt bob@example.org", "examples/demo.session", "--client 192.0.2.10 --helo mail.example.com --from dave@example.com --rcpt carol@example.org",
	} {
		out, err := w.run(t, "milterd simulate --milter "+w.listener+" "+words)
		if err != nil {
			t.Fatalf("simulate: %v\n%s", err, out)
		}
		if i := strings.LastIndex(out, "https://mx.example.org/why/"); i >= 0 {
			w.link, _, _ = strings.Cut(out[i:], "\n")
		}
	}
	if w.link == "" {
		t.Fatal("no reply had a link")
	}
	miltertest.Eventually(t, "the daemon has stored its decisions", func() bool {
		out, err := w.run(t, "milterd log --max 0")
		return err == nil && strings.Count(out, "\n") >= 6
	})
}

// run runs a line of shell.
func (w *docsWorld) run(t *testing.T, line string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	line = strings.NewReplacer(
		"/etc/milterd", w.path("etc/milterd"), "inet:8891@127.0.0.1", w.listener, "https://mx.example.org/why/rdns-missing?r=...", w.link,
	).Replace(line)
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.Dir = w.path("work")
	cmd.Env = []string{"PATH=" + w.path("bin") + ":/usr/bin:/bin", "HOME=" + w.path("home"), "TZ=UTC"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// logLines returns the lines of the daemon's log that have all words, without their times.
func (w *docsWorld) logLines(words ...string) []string {
	var list []string
	for line := range strings.Lines(w.daemon.Output()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), `" `) // time="..."
		hasAll := !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line+" ", word) })
		if hasAll {
			list = append(list, line)
		}
	}
	return list
}

// metrics returns the table of metrics, from a scrape.
func (w *docsWorld) metrics(t *testing.T) string {
	t.Helper()
	response, err := http.Get("http://" + w.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var text strings.Builder
	if err := response.Write(&text); err != nil {
		t.Fatal(err)
	}
	help := regexp.MustCompile(`(?m)^# HELP (milterd_\w+) (.+)\r?\n# TYPE \w+ (\w+)`)
	var table strings.Builder
	table.WriteString("\n| metric | type | is |\n|---|---|---|\n")
	for _, m := range help.FindAllStringSubmatch(text.String(), -1) {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", m[1], m[3], strings.TrimSpace(m[2]))
	}
	return table.String() + "\n"
}

// resultField returns the Authentication-Results field that a good message gets.
func (w *docsWorld) resultField(t *testing.T) string {
	t.Helper()
	network, addr := miltertest.SplitListener(w.listener)
	client := gomilter.NewClientWithOptions(network, addr, gomilter.ClientOptions{
		ActionMask: gomilter.OptAddHeader | gomilter.OptChangeHeader,
	})
	defer client.Close()
	s, err := client.Session()
	if err != nil {
		t.Fatal(err)
	}
	must := func(a *gomilter.Action, err error) {
		t.Helper()
		if err != nil || a.Code != gomilter.ActContinue {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	must(s.Conn("mail.example.net", gomilter.FamilyInet, 12345, "192.0.2.9"))
	must(s.Helo("mail.example.net"))
	must(s.Mail("<alice@example.net>", nil))
	must(s.Rcpt("<bob@example.org>", nil))
	for _, f := range [][2]string{
		{"Date", time.Now().Format(time.RFC1123Z)}, {"From", "alice@example.net"}, {"Message-ID", "<1@example.net>"},
	} {
		must(s.HeaderField(f[0], f[1]))
	}
	must(s.HeaderEnd())
	changes, _, err := s.End()
	if err != nil || len(changes) != 1 {
		t.Fatalf("%+v, %v", changes, err)
	}
	return changes[0].HeaderName + ": " + strings.TrimSpace(changes[0].HeaderValue)
}
