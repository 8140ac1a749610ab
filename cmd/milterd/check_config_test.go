package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestUnknownGroups tests that check-config names each group of a socket that this machine does not have.
func TestUnknownGroups(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "milterd.yaml")
	writeFile(t, file, "listen: [{socket: unix:/run/a.sock, group: no-such-group-a}, {socket: unix:/run/b.sock, group: no-such-group-b}, inet:8891@127.0.0.1]\n")
	code, out, errs := runLine(t, "check-config", file)
	if code != exitNo || out != "" {
		t.Errorf("exit status %d, %s", code, out)
	}
	for _, want := range []string{
		file + `:1:10: listen[0]: unix:/run/a.sock: there is no group "no-such-group-a"`,
		file + `:1:62: listen[1]: unix:/run/b.sock: there is no group "no-such-group-b"`,
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %s in %s", want, errs)
		}
	}
}

// TestUnreadableSession tests that a session file with a fault counts as failed, and that the others are played nevertheless.
func TestUnreadableSession(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	const zone, smtp = "-- zone --\nexample.net. MX 10 mx.example.net.\n", "-- smtp --\nclient 192.0.2.9\nC: EHLO mx.example.net\nS: 250\n"
	writeFile(t, filepath.Join(folder, "a.session"), "Without SMTP.\n"+zone)
	writeFile(t, filepath.Join(folder, "b.session"), "Without a zone.\n"+smtp)
	writeFile(t, filepath.Join(folder, "c.session"), "Good.\n"+zone+smtp)
	file := filepath.Join(t.TempDir(), "milterd.yaml")
	writeFile(t, file, "profile: safe\n")
	code, out, errs := runLine(t, "check-config", "--sessions", folder, file)
	if code != exitNo || !strings.Contains(out, "1 of 3 sessions have") {
		t.Errorf("exit status %d, %s", code, out)
	}
	for _, want := range []string{`a.session: no part "smtp"`, `b.session: no part "zone"`} {
		if strings.Count(errs, want) != 1 {
			t.Errorf("no %s in %s", want, errs)
		}
	}
}
