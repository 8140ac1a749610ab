package store

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
)

var update = flag.Bool("update", false, "write the state folder of the present format")

// The state in testdata/format-1 was written by version 0.1.0, with lifetimes of a hundred years.
const (
	formatState  = "testdata/format-1"
	formatConfig = "records: {keep: 36500d}\nchecks: {greylist: {window: 36500d, keep: 36500d}}\n"

	stateDenied   = "192.0.2.66"   // on the deny list of the store
	stateWaiting  = "198.51.100.9" // waits for its greylisting delay
	stateAllowed  = "203.0.113.9"  // was allowed to skip greylisting
	stateReceiver = "alice@mx.test"
)

// startWithState starts a daemon on a state folder.
func startWithState(t *testing.T, dir string) *daemontest.Daemon {
	t.Helper()
	d, _ := daemontest.StartWithSocket(t, nil, formatConfig+fmt.Sprintf("store: {driver: embedded, path: %q}\n", dir))
	return d
}

// TestStateOfOlderVersion starts a daemon on a copy of the state that an older version wrote. It must go on from there: what
// that version knew of clients decides, and the commands show it.
func TestStateOfOlderVersion(t *testing.T) {
	t.Parallel()
	if *update {
		writeState(t)
		return // the greylisting delay of its triplet has just begun
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(formatState)); err != nil {
		t.Fatal(err)
	}
	d := startWithState(t, dir)
	daemontest.WantRow(t, d.MustRun(t, "access", "list"), stateDenied)
	daemontest.WantRow(t, d.MustRun(t, "greylist", "list"), "waiting", "198.51.100.0/24", stateWaiting)
	decisions := d.MustRun(t, "log", "--since", "2026-01-01")
	if n := strings.Count(decisions, "client-denied"); n != 1 {
		t.Errorf("%d decisions with client-denied, want 1:\n%s", n, decisions)
	}
	d.MustRefuse(t, stateDenied, daemontest.GoodSender, stateReceiver, "550 5.7.1", "")
	d.MustAccept(t, stateAllowed, daemontest.GoodSender, stateReceiver)
	// The triplet began long ago, so its delay is over.
	d.MustAccept(t, stateWaiting, daemontest.GoodSender, stateReceiver)
	if moved, err := filepath.Glob(filepath.Join(dir, "*damaged*")); err != nil || len(moved) > 0 {
		t.Errorf("the store was replaced: %q, %v", moved, err)
	}
}

// writeState writes the state of TestStateOfOlderVersion.
func writeState(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(formatState); err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.Abs(formatState)
	if err != nil {
		t.Fatal(err)
	}
	d := startWithState(t, dir)
	d.MustRun(t, "access", "deny", stateDenied, "--why", "state of an older version")
	d.MustRefuse(t, stateWaiting, daemontest.GoodSender, stateReceiver, "451 4.7.1 greylisted", "")
	d.MustRefuse(t, stateAllowed, daemontest.GoodSender, stateReceiver, "451 4.7.1 greylisted", "")
	d.MustRun(t, "greylist", "allow", stateAllowed)
	d.MustRefuse(t, stateDenied, daemontest.GoodSender, stateReceiver, "550 5.7.1", "")
	d.Stop(t)
	startWithState(t, dir).Stop(t) // moves the records from the log of the database to a table
	if err := os.Remove(filepath.Join(formatState, "LOCK")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// TestStateOfLaterVersion tests that a daemon does not start on a state folder that a later version wrote, says why, and
// leaves the folder alone.
func TestStateOfLaterVersion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(formatState)); err != nil {
		t.Fatal(err)
	}
	markers, err := filepath.Glob(filepath.Join(dir, "store/marker.format-version.*"))
	if err != nil || len(markers) != 1 {
		t.Fatalf("got %q, %v", markers, err)
	}
	later := filepath.Join(dir, "store/marker.format-version.000002.999")
	if err := os.Rename(markers[0], later); err != nil {
		t.Fatal(err)
	}
	d := daemontest.New(t, daemontest.Config{
		DNS: "127.0.0.1:53", Profile: "safe", Extra: fmt.Sprintf("store: {driver: embedded, path: %q}\n", dir),
	})
	r := d.Command(t, "serve")
	if r.Code != 1 || !strings.Contains(r.Stderr, "a later version of milterd wrote this store") || !strings.Contains(r.Stderr, dir) {
		t.Errorf("exit %d, %q", r.Code, r.Stderr)
	}
	if _, err := os.Stat(later); err != nil {
		t.Error(err)
	}
}
