// Package replay tests milterd replay with mail that real servers delivered, with a log, and interrupted.
package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// TestDeliveredMail replays the mailboxes of a real Postfix, Sendmail and Exim.
func TestDeliveredMail(t *testing.T) {
	miltertest.Require(t)
	site := miltertest.NewSite(t, daemontest.World)
	for _, m := range []*miltertest.MTA{site.Postfix(t), site.Sendmail(t), site.Exim(t)} {
		t.Run(m.Name, func(t *testing.T) {
			sendMessages(t, m)
			replayMailbox(t, writeConfig(t, site.DNS.Addr, ""), filepath.Join(site.Dir, m.Name, "mail"))
		})
	}
}

// sendMessages sends a good message and four bad ones to alice, through the listener that works without a milter.
func sendMessages(t *testing.T, m *miltertest.MTA) {
	for _, s := range []struct {
		helo, from string
		change     daemontest.Field
	}{
		{daemontest.GoodHelo, daemontest.GoodSender, daemontest.Field{"To", "alice@mx.test"}},
		{daemontest.GoodHelo, daemontest.GoodSender, daemontest.Field{"Date", "yesterday"}},
		{"127.0.0.9", daemontest.GoodSender, daemontest.Field{"To", "alice@mx.test"}},
		{daemontest.GoodHelo, "a@nowhere.test", daemontest.Field{"To", "alice@mx.test"}},
		{daemontest.GoodHelo, daemontest.GoodSender, daemontest.Field{"Date", "Tue, 31 Feb 2026 12:00:00 +0000"}},
	} {
		c := miltertest.DialSMTP(t, m.Open, daemontest.GoodClient)
		c.Must("2", "EHLO "+s.helo)
		daemontest.Envelope(c, s.from, "alice@mx.test")
		subject, msg := daemontest.UniqueMessage(s.change)
		daemontest.SendMessage(t, c, msg)
		m.Delivered(t, "alice", subject)
	}
}

// replayMailbox replays the messages of sendMessages.
func replayMailbox(t *testing.T, config, mailbox string) {
	r := daemontest.Command(t, "replay", "-c", config, "--json", mailbox)
	var got struct {
		Messages, Judged, Unreadable, Refused int
		Reasons                               map[string]struct{ Count int }
		NotJudged                             map[string]map[string]int `json:"not_judged"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	if got.Messages != 5 || got.Judged != 5 || got.Unreadable != 0 || got.Refused != 4 {
		t.Errorf("got %s", r.Stdout)
	}
	for reason, count := range map[string]int{"date-invalid": 2, "helo-bare-ip": 1, "sender-no-domain": 1} {
		if got.Reasons[reason].Count != count {
			t.Errorf("%s: got %d\n%s", reason, got.Reasons[reason].Count, r.Stdout)
		}
	}
	for check := range got.NotJudged {
		if check != "callout" { // replay makes no callouts
			t.Errorf("%s was not judged: %v", check, got.NotJudged[check])
		}
	}
}

// writeConfig writes a configuration file with further lines.
func writeConfig(t *testing.T, dns, extra string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "milterd.yaml")
	text := "hostname: mx.test\nlocal_domains: [mx.test]\ntrusted: {networks: []}\ndns: {servers: ['" + dns + "']}\nstore: {driver: memory}\n"
	if err := os.WriteFile(path, []byte(text+extra), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLog replays the records of a daemon by a configuration that accepts more.
func TestLog(t *testing.T) {
	t.Parallel()
	d, _ := daemontest.StartWithSocket(t, nil, "")
	d.MustAccept(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test")
	d.MustRefuse(t, daemontest.GoodClient, "a@nowhere.test", "alice@mx.test", "450", "nowhere.test")
	var list string
	miltertest.Eventually(t, "the records of both messages", func() bool {
		list = d.Command(t, "log", "--json").Stdout
		return strings.Count(list, `"session"`) >= 2
	})
	dns := dnstest.Start(t, daemontest.World).Addr
	same, other := writeConfig(t, dns, ""), writeConfig(t, dns, "actions: {sender-no-domain: watch}\n")
	path := filepath.Join(t.TempDir(), "log.json")
	if err := os.WriteFile(path, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	r := daemontest.Command(t, "replay", "-c", same, "--against", other, "--json", path)
	var got struct {
		Messages, Judged, Unreadable, Refused, Changed int
		Reasons                                        map[string]struct{ Count int }
	}
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	if got.Messages != 2 || got.Judged != 2 || got.Refused != 1 || got.Changed != 1 || got.Reasons["sender-no-domain"].Count != 1 {
		t.Errorf("got %s\nof\n%s", r.Stdout, list)
	}
}

// TestInterrupt interrupts a replay, as Ctrl-C does, in a file with one message followed by an endless one.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inbox")
	const from = "From x Thu Nov 21 12:00:00 2024\n"
	text := from + "Date: Thu, 21 Nov 2024 12:00:00 +0000\n\nHello.\n\n" + from + "Subject: endless\n\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const size = 4 << 40 // bytes; the file is sparse
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.TempDir(), "report.html")
	var out bytes.Buffer
	cmd := exec.Command(daemontest.Binary(t), "replay", "-c", "none", "--dns", "none", "--json", "--html", page, path)
	cmd.Stdout = &out
	cmd.Env = daemontest.CommandEnv()
	p := miltertest.StartProcess(t, cmd)
	miltertest.Eventually(t, "replay reads the file", func() bool { return bytesRead(t, cmd.Process.Pid) > 10<<20 })
	p.Signal(t, syscall.SIGINT)
	<-p.Done()
	var got struct {
		Messages, Judged int
		Interrupted      bool
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Messages != 1 || got.Judged != 1 || !got.Interrupted || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit code %d, %v: %s%s", cmd.ProcessState.ExitCode(), err, &out, p.Output())
	}
	if html, err := os.ReadFile(page); err != nil || !bytes.Contains(html, []byte("Interrupted:")) || !bytes.HasSuffix(bytes.TrimSpace(html), []byte("</html>")) {
		t.Errorf("report: %v, %d bytes", err, len(html))
	}
}

// bytesRead returns how many bytes a process has read.
func bytesRead(t *testing.T, pid int) (n int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "rchar: ")
	_, _ = fmt.Sscan(after, &n)
	return n
}
