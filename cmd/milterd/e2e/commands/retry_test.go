package commands

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// retryCounts are the totals of a retry report.
type retryCounts struct{ Held, Passed, Waiting, Gone, Early int }

// retryReport returns the totals and the proposed entries of no_retry.
func retryReport(t *testing.T, d *daemontest.Daemon) (n retryCounts, noRetry []string) {
	t.Helper()
	r := daemontest.DecodeJSON[struct {
		Since   time.Time         `json:"since"`
		Until   time.Time         `json:"until"`
		Held    int               `json:"held"`
		Passed  int               `json:"passed"`
		Waiting int               `json:"waiting"`
		Gone    int               `json:"gone"`
		Early   int               `json:"early"`
		Moved   int               `json:"moved"`
		Took    map[string]any    `json:"took"`
		Groups  []json.RawMessage `json:"groups"`
		NoRetry []struct {
			Sender, Date, Evidence string
		} `json:"no_retry"`
		Delay    int                  `json:"delay_seconds"`
		Examples []daemontest.Triplet `json:"examples"`
	}](t, d, "report", "retry")
	for _, e := range r.NoRetry {
		noRetry = append(noRetry, e.Sender)
	}
	if r.Until.Sub(r.Since) != 7*24*time.Hour {
		t.Errorf("report from %s to %s", r.Since, r.Until)
	}
	return retryCounts{Held: r.Held, Passed: r.Passed, Waiting: r.Waiting, Gone: r.Gone, Early: r.Early}, noRetry
}

// TestRetryReport tests the report about a client that retried and one that did not before the end of the window.
func TestRetryReport(t *testing.T) {
	t.Parallel()
	const config, window = "checks: {greylist: {delay: 1s, window: %s}}\n", 2 * time.Second
	long, short := fmt.Sprintf(config, time.Hour), fmt.Sprintf(config, window)
	d, _ := daemontest.StartWithSocket(t, nil, long) // so long that a retry passes within the window on a loaded machine
	if n, _ := retryReport(t, d); n != (retryCounts{}) {
		t.Errorf("the first report: %+v", n)
	}
	miltertest.Eventually(t, "a retry passes", func() bool {
		r, err := d.Mail("192.0.2.9", daemontest.GoodSender, "bob@mx.test")
		if err != nil {
			t.Fatal(err)
		}
		return r == ""
	})
	text, err := os.ReadFile(d.File)
	if err != nil {
		t.Fatal(err)
	}
	reload(t, d, strings.Replace(string(text), long, short, 1), "configuration reloaded")
	// Greylisting identifies this client by the domain of its name.
	const lost = 3
	for i := range lost {
		d.MustRefuse(t, daemontest.GoodClient, fmt.Sprintf("list-%c@wide.test", 'a'+i), "alice@mx.test", "451 4.7.1 greylisted", "")
	}
	<-time.After(window)
	miltertest.Eventually(t, "the window of the other client is over", func() bool {
		n, _ := retryReport(t, d)
		return n.Gone == lost
	})
	n, noRetry := retryReport(t, d)
	if want := (retryCounts{Held: lost + 1, Passed: 1, Gone: lost}); n != want {
		t.Errorf("report: %+v, want %+v", n, want)
	}
	if !slices.Equal(noRetry, []string{".client.test"}) {
		t.Errorf("candidates: %q, want the domain of the client that did not retry", noRetry)
	}
	table := d.MustRun(t, "report", "retry")
	daemontest.WantRow(t, table, "4", "triplets", "held,", "1", "passed,")
	daemontest.WantRow(t, table, "client.test", "3", "0", "0", "3")
	daemontest.WantRow(t, table, ".client.test", "held,", "none")
}
