package commands

import (
	"encoding/json"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
)

// TestSimulateLive tests that a simulation sees what the running daemon knows, and changes nothing of it.
func TestSimulateLive(t *testing.T) {
	t.Parallel()
	d, _ := daemontest.StartWithSocket(t, map[string]string{"first-contact": "greylist", "client-blocked": "reject"}, "")
	simulate := func(more ...string) string {
		t.Helper()
		return d.MustRun(t, append([]string{
			"simulate", "--live", "--client", daemontest.GoodClient, "--helo", daemontest.GoodHelo, "--from", daemontest.GoodSender, "--rcpt", "alice@mx.test",
		}, more...)...)
	}
	for range 2 { // the first one leaves no triplet
		if out := simulate(); !strings.Contains(out, "S: 451 4.7.1 greylisted for 180 s more") || !strings.Contains(out, "first-contact (greylist)") {
			t.Errorf("got %s", out)
		}
	}
	if out := d.MustRun(t, "greylist", "list"); out != "no triplets\n" {
		t.Errorf("the simulation was stored: %s", out)
	}
	d.MustRun(t, "block", "add", daemontest.GoodClient, "--why", "the spam run of today")
	var result struct {
		Reply  struct{ Code int }
		Action string
		Reason string
	}
	if err := json.Unmarshal([]byte(simulate("--json")), &result); err != nil || result.Reason != "client-blocked" || result.Reply.Code != 550 || result.Action != "reject" {
		t.Errorf("blocked: %+v, %v", result, err)
	}
	d.MustRun(t, "access", "allow", daemontest.GoodClient)
	if out := simulate(); !strings.Contains(out, "allowed by milterd access") || strings.Contains(out, "S: 5") {
		t.Errorf("allowed: %s", out)
	}
	if r := d.Command(t, "simulate", "--live", "--socket", "/nowhere/sock", "--client", "192.0.2.9", "--rcpt", "a@mx.test"); r.Code != 3 {
		t.Errorf("without a daemon: %+v", r)
	}
}
