package commands

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
)

// reload replaces the configuration file, has the daemon read it, and waits for a message in its log.
func reload(t *testing.T, d *daemontest.Daemon, config, want string) {
	t.Helper()
	if err := os.WriteFile(d.File, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	mark := d.Mark()
	d.Signal(t, syscall.SIGHUP)
	d.AwaitEntry(t, mark, daemontest.Entry{"msg": want})
}

// TestFailedReload tests that a reload that failed is shown everywhere until one succeeds, and that commands still find the daemon
// by the broken file.
func TestFailedReload(t *testing.T) {
	t.Parallel()
	d, pages := startWithPages(t, "safe")
	good, err := os.ReadFile(d.File)
	if err != nil {
		t.Fatal(err)
	}
	shown := func() (status, ready, metrics string) {
		t.Helper()
		code, ready := daemontest.Get(t, "http://"+pages+"/readyz")
		if code != 200 {
			t.Errorf("/readyz: %d %s", code, ready)
		}
		_, metrics = daemontest.Get(t, "http://milterd:secret@"+pages+"/metrics")
		return d.MustRun(t, "status"), ready, metrics
	}
	if status, ready, metrics := shown(); strings.Contains(status, "warning") || ready != "ok\n" || !strings.Contains(metrics, "\nmilterd_config_valid 1\n") {
		t.Errorf("after the start: %s%s", status, ready)
	}
	reload(t, d, string(good)+"profil: strict\n", "reload failed: the old configuration stays in force")
	status, ready, metrics := shown()
	want := `unknown key "profil"; did you mean "profile"?`
	if !strings.Contains(status, "warning") || !strings.Contains(status, want) || !strings.HasPrefix(ready, "ok\nwarning: the reload at ") ||
		!strings.Contains(ready, d.File) || !strings.Contains(metrics, "\nmilterd_config_valid 0\n") {
		t.Errorf("after the failed reload: %s%s", status, ready)
	}
	_, overview := daemontest.Get(t, "http://milterd:secret@"+pages+"/")
	if !strings.Contains(overview, "did you mean") {
		t.Error("the overview does not show the failed reload")
	}
	reload(t, d, string(good), "configuration reloaded")
	d.AwaitEntry(t, 0, daemontest.Entry{"msg": "ready"})
	if status, ready, metrics := shown(); strings.Contains(status, "warning") || ready != "ok\n" || !strings.Contains(metrics, "\nmilterd_config_valid 1\n") {
		t.Errorf("after the repair: %s%s", status, ready)
	}
}
