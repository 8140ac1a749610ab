package commands

import (
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// TestWhyCommand asks why a delivery was refused, by each thing that a user may have at hand.
func TestWhyCommand(t *testing.T) {
	t.Parallel()
	d, _ := daemontest.StartWithSocket(t, map[string]string{"first-contact": "greylist"}, "")
	d.MustRefuse(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test", "451 4.7.1 greylisted", "")
	d.MustRun(t, "block", "add", "127.0.0.10", "--why", "the spam run of today")
	d.MustRun(t, "access", "deny", daemontest.GoodSender, "--why", "spam")
	entry := d.AwaitEntry(t, 0, daemontest.Entry{"msg": "greylist"})
	record := ""
	miltertest.Eventually(t, "the decision is stored", func() bool {
		list := daemontest.DecodeJSON[[]struct{ ID string }](t, d, "log", "--session", entry["session"])
		if len(list) == 1 {
			record = list[0].ID
		}
		return record != ""
	})
	for _, what := range []string{
		daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test", "sender.test", entry["session"], "r=" + record, "https://mx.test/why/greylisted?r=" + record + "x",
	} {
		out := d.MustRun(t, "why", what)
		for _, want := range []string{"greylisted", "451 4.7.1 greylisted for", "waiting", "milterd greylist forget"} {
			if !strings.Contains(out, want) {
				t.Errorf("milterd why %s: no %q in\n%s", what, want, out)
			}
		}
		if lines := strings.Count(out, "\n"); lines > 60 {
			t.Errorf("milterd why %s: %d lines", what, lines)
		}
	}
	both := d.MustRun(t, "why", daemontest.GoodSender, "alice@mx.test")
	daemontest.WantRow(t, both, "block", "127.0.0.10", "milterd", "block", "remove")
	daemontest.WantRow(t, both, "list", "deny", daemontest.GoodSender, "(spam)", "milterd", "access", "remove")
	if r := d.Command(t, "why", "other@nowhere.test", "alice@mx.test"); r.Code != 1 {
		t.Errorf("mail that never came: %+v", r)
	}
	daemontest.WantRow(t, d.MustRun(t, "why", daemontest.GoodClient), "block", "127.0.0.10", "the", "spam", "run", "milterd", "block", "remove")
	daemontest.WantRow(t, d.MustRun(t, "why", daemontest.GoodSender), "list", "deny", daemontest.GoodSender, "milterd", "access", "remove")
	for what, code := range map[string]int{
		"203.0.113.9": 1, "nobody@nowhere.test": 1, "nowhere.test": 1, "abcdefghijkl": 1, "nobody": 1, "?": 2, "https://mx.test/why/x": 2, "1.2.3.4/99": 2,
	} {
		if r := d.Command(t, "why", what); r.Code != code || !strings.HasPrefix(r.Stderr, "milterd: ") {
			t.Errorf("milterd why %s: %+v, want exit status %d", what, r, code)
		}
	}
}
