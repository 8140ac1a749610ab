package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"milterd/milter/resolver/dnstest"
)

// makeArchive makes a folder with two messages as Postfix delivers them, and a file that is no message.
func makeArchive(t *testing.T) string {
	t.Helper()
	const trace = `Return-Path: <alice@example.net>
Delivered-To: bob@example.org
Received: from mail.example.net (mail.example.net [192.0.2.9])
	by mx.example.org (Postfix) with ESMTP id 4XvK2
	for <bob@example.org>; Thu, 21 Nov 2024 12:00:00 +0000
`
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "good.eml"), trace+"Date: Thu, 21 Nov 2024 12:00:00 +0000\nMessage-ID: <1@example.net>\nFrom: alice@example.net\n\nHello.\n")
	writeFile(t, filepath.Join(dir, "bad.eml"), trace+"Date: yesterday\nMessage-ID: <2@example.net>\nFrom: alice@example.net\n\nHello.\n")
	writeFile(t, filepath.Join(dir, "binary.eml"), "\x00\x01")
	return dir
}

// replayConfigFile writes a configuration file with further lines.
func replayConfigFile(t *testing.T, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "milterd.yaml")
	writeFile(t, path, "hostname: mx.example.org\nlocal_domains: [example.org]\n"+more)
	return path
}

// TestReplayPipe tests a configuration from a pipe, as bash makes it of --against <(command). It can be read once.
func TestReplayPipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	if _, err := w.WriteString("hostname: mx.example.org\nlocal_domains: [example.org]\nactions: {date-invalid: watch}\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	out := printed(t, "replay", "-c", replayConfigFile(t, ""), "--against", fmt.Sprintf("/proc/self/fd/%d", r.Fd()), "--dns", "none", makeArchive(t))
	if !strings.Contains(out, ":3: actions.date-invalid: watch instead of reject of the profile (1 message)\n") {
		t.Errorf("got %s", out)
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	dir := makeArchive(t)
	page := filepath.Join(t.TempDir(), "report.html")
	args := []string{"replay", "-c", replayConfigFile(t, ""), "--dns", "none", "--html", page, dir}
	code, out, errs := runLine(t, append(args, "--json")...)
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var got struct {
		Messages, Judged, Unreadable, Refused int
		Reasons                               json.RawMessage
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := `{"date-invalid":{"action":"reject","count":1,"messages":[{"file":"` + dir + `/bad.eml","message_id":"<2@example.net>"}]}}`
	if got.Messages != 3 || got.Judged != 2 || got.Unreadable != 1 || got.Refused != 1 || string(got.Reasons) != want {
		t.Errorf("got %s", out)
	}
	if html, err := os.ReadFile(page); err != nil || !bytes.Contains(html, []byte("date-invalid")) {
		t.Errorf("got %v, %s", err, html)
	}
	if out := printed(t, args...); !strings.Contains(out, "date-invalid (reject): 1 message of 1 sender\n") {
		t.Errorf("got %s", out)
	}
}

// TestReplayOfNothing tests the exit status and the error if no message can be judged.
func TestReplayOfNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "notes"), "no mail\n")
	for _, c := range []struct{ name, config, path, stderr string }{
		{name: "no message", path: dir, stderr: "milterd: no message was found in " + dir + ": want an mbox file, "},
		{name: "trusted client", config: "trusted: {networks: [192.0.2.0/24]}\n", path: filepath.Join(makeArchive(t), "good.eml")},
	} {
		code, out, errs := runLine(t, "replay", "-c", replayConfigFile(t, c.config), "--dns", "none", c.path)
		if code != exitNo || !strings.HasPrefix(errs, c.stderr) || c.stderr == "" && errs != "" {
			t.Errorf("%s: exit code %d: %s%s", c.name, code, out, errs)
		}
	}
}

// TestReplayAgainstLessTrust compares with a configuration that trusts fewer networks, so that more mail is checked.
func TestReplayAgainstLessTrust(t *testing.T) {
	t.Parallel()
	old, new := replayConfigFile(t, "trusted: {networks: [127.0.0.0/8, 192.0.2.0/24]}\n"), replayConfigFile(t, "trusted: {networks: [127.0.0.0/8]}\n")
	out := printed(t, "replay", "-c", old, "--against", new, "--dns", "none", makeArchive(t))
	for _, want := range []string{
		"2 messages would have another result, because of 1 line\n       1 would be refused instead of 0:",
		"milterd.yaml:3: trusted.networks: [127.0.0.0/8] instead of [127.0.0.0/8, 192.0.2.0/24] (2 messages)\n",
		"not checked -> reject date-invalid: 1 message\n", "not checked -> accept: 1 message\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestReplayDNS tests that --dns live asks the DNS, and that --dns record asks it once and then reads the recording.
func TestReplayDNS(t *testing.T) {
	t.Parallel()
	answers := filepath.Join(t.TempDir(), "answers")
	dir := makeArchive(t)
	for i, args := range [][]string{{"--dns", "live"}, {"--dns", "record=" + answers}, {"--dns", "record=" + answers}} {
		server := dnstest.Start(t, "example.net. MX 10 mx.example.net.\nmx.example.net. A 9.9.9.9\nmail.example.net. A 192.0.2.9\n")
		cfg := replayConfigFile(t, "dns: {servers: ['"+server.Addr+"']}\nactions: {rdns-missing: reject}\n")
		if out := printed(t, append([]string{"replay", "-c", cfg, dir}, args...)...); !strings.Contains(out, "rdns-missing (reject): 2 messages") {
			t.Errorf("got %s", out)
		}
		if asked := server.Counts().UDP > 0; asked != (i < 2) {
			t.Errorf("replay %d: DNS asked: %t", i, asked)
		}
	}
}

func TestReplayInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	args := []string{"replay", "-c", replayConfigFile(t, ""), "--dns", "none", "--json", makeArchive(t)}
	if code := run(ctx, args, &out, &errs); code != 1 || !strings.Contains(out.String(), `"interrupted":true`) || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("exit code %d: %s%s", code, &out, &errs)
	}
}

func TestReplayMistakes(t *testing.T) {
	t.Parallel()
	cfg := replayConfigFile(t, "")
	for _, c := range []struct {
		name, want string
		code       int
		args       []string
	}{
		{"no path", "replay: want an mbox file", exitUsage, nil},
		{"a path that does not exist", "no such file", exitNo, []string{"/none/at/all"}},
		{"a DNS that does not exist", `--dns: "dead" is none of live, none, record=FILE`, exitUsage, []string{"--dns", "dead", t.TempDir()}},
		{"a recording without a file", "--dns:", exitUsage, []string{"--dns", "record=", t.TempDir()}},
		{"a recording that is none", "not a recorded answer", exitNo, []string{"--dns", "record=" + cfg, t.TempDir()}},
		{"a configuration that is broken", "unknown key", exitNo, []string{"--against", replayConfigFile(t, "nonsense: 1\n"), t.TempDir()}},
		{"a page that cannot be written", "no such file", exitNo, []string{"--dns", "none", "--html", "/none/at/all.html", t.TempDir()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if code, out, errs := runLine(t, append([]string{"replay", "-c", cfg}, c.args...)...); code != c.code || !strings.Contains(errs, c.want) || out != "" {
				t.Errorf("exit code %d: %s%s", code, out, errs)
			}
		})
	}
}
