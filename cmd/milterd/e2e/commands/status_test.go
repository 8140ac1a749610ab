package commands

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/e2e/daemontest"
)

func TestStatusCommand(t *testing.T) {
	t.Parallel()
	d, _ := daemontest.StartWithSocket(t, nil, fmt.Sprintf("store: {driver: embedded, path: %q}\n", filepath.Join(daemontest.SocketDir(t), "state")))
	c, err := d.Connect(daemontest.GoodClient)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	table := d.MustRun(t, "status")
	daemontest.WantRow(t, table, "version", runtime.Version())
	daemontest.WantRow(t, table, "profile", "safe")
	daemontest.WantRow(t, table, "connections", "1")
	daemontest.WantRow(t, table, "store", "embedded", "ok", "since")
	s := daemontest.DecodeJSON[struct {
		Version     string         `json:"version"`
		Started     time.Time      `json:"started"`
		Profile     string         `json:"profile"`
		Connections int            `json:"connections"`
		LogDropped  int            `json:"log_dropped"`
		Store       map[string]any `json:"store"`
		DNS         map[string]any `json:"dns"`
	}](t, d, "status")
	if s.Version == "" || time.Since(s.Started) > time.Minute || s.Profile != "safe" || s.Connections != 1 || len(s.Store) == 0 || len(s.DNS) == 0 {
		t.Errorf("status: %+v", s)
	}
	if s.Store["driver"] != "embedded" || s.Store["ok"] != true || s.DNS["queries"] == nil || s.DNS["servfail"] == nil {
		t.Errorf("status: %v, %v", s.Store, s.DNS)
	}
	for _, part := range []map[string]any{s.Store, s.DNS} {
		for key := range part {
			if key != strings.ToLower(key) {
				t.Errorf("key %s is not in lower case", key)
			}
		}
	}
}

// TestReloadKeepsCheckState tests that a reload keeps the state of a DNS list, with the time since when it is in use.
func TestReloadKeepsCheckState(t *testing.T) {
	t.Parallel()
	d, _ := daemontest.StartWithSocket(t, nil, "checks: {dnsbl: {zones: [{zone: bl.test, codes: [127.0.0.2]}]}}\n")
	condition := func() checks.Condition {
		list := daemontest.DecodeJSON[struct{ Checks []checks.Condition }](t, d, "status").Checks
		i := slices.IndexFunc(list, func(c checks.Condition) bool { return c.Check == "dnsbl" })
		if i < 0 || list[i].State != "on" {
			t.Fatalf("got %+v", list)
		}
		return list[i]
	}
	before, mark := condition(), d.Mark()
	d.Signal(t, syscall.SIGHUP)
	d.AwaitEntry(t, mark, daemontest.Entry{"msg": "configuration reloaded"})
	if after := condition(); !after.Since.Equal(before.Since) {
		t.Errorf("on since %v, before the reload since %v", after.Since, before.Since)
	}
}
