package commands

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
)

// TestRecordedSessions tests that sessions of a running daemon, written as session files, have the same replies when they are played
// again, and that a configuration which changes a reply is found.
func TestRecordedSessions(t *testing.T) {
	t.Parallel()
	d, _ := daemontest.StartWithSocket(t, map[string]string{"first-contact": "off"}, "")
	folder := t.TempDir()
	record := func(name, from, to, codes string) {
		t.Helper()
		mark := d.Mark()
		d.MustRefuse(t, daemontest.GoodClient, from, to, codes, "")
		id := d.AwaitEntry(t, mark, daemontest.Entry{"mail_from": from, "rcpt": to})["session"]
		r := d.Command(t, "simulate", "--record", id)
		if r.Code != 0 || r.Stderr != "" || strings.Contains(r.Stdout, to) || !strings.Contains(r.Stdout, "S: "+codes) {
			t.Fatalf("%s: %+v", name, r)
		}
		if err := os.WriteFile(filepath.Join(folder, name+".session"), []byte(r.Stdout), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	record("null-mx", "user@nullmx.test", "complaint@mx.test", "550 5.7.27")
	record("sender", "user@nodomain.invalid", "complaint@mx.test", "450 4.1.8")
	if r := d.Command(t, "check-config", "--sessions", folder); r.Code != 0 || !strings.Contains(r.Stdout, "2 of 2 sessions have the replies") {
		t.Errorf("the same configuration: %+v", r)
	}
	config, err := os.ReadFile(d.File)
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(folder, "new.yaml")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(config), "actions:", "actions:\n  sender-null-mx: watch", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := daemontest.Command(t, "check-config", "--sessions", folder, changed); r.Code != 1 || !strings.Contains(r.Stderr, "null-mx.session:") || !strings.Contains(r.Stdout, "1 of 2 sessions have") {
		t.Errorf("another configuration: %+v", r)
	}
	if r := d.Command(t, "simulate", "--record", "nosuchid"); r.Code != 1 || !strings.Contains(r.Stderr, "nosuchid: no decision of the session is kept") {
		t.Errorf("an unknown session: %+v", r)
	}
}
