package commands

import (
	"encoding/json"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
)

// TestKeepReports tests that the daemon keeps the reports about its domains, and no others.
func TestKeepReports(t *testing.T) {
	t.Parallel()
	const forms = "../../../../checks/facts/dmarc/aggregate/testdata/forms"
	for domain, want := range map[string]int{"example.com": 9, "example.org": 0} {
		d := daemontest.Start(t, daemontest.Config{
			Domain: domain, DNS: "127.0.0.1:53", Profile: "safe",
			Extra: `admin: {listen: "", socket: "` + daemontest.SocketDir(t) + "/admin.sock\"}\n",
		})
		for range 2 {
			var got struct{ Kept, Reports int }
			out := d.MustRun(t, "dmarc-reports", "--keep", "--json", forms)
			if err := json.Unmarshal([]byte(out), &got); err != nil || got.Kept != want || got.Reports != 9 {
				t.Errorf("%s: %v, %s", domain, err, out)
			}
		}
		if out := d.MustRun(t, "dmarc-reports", "--keep", forms); strings.Contains(out, "The daemon keeps 9 of them") != (want == 9) {
			t.Errorf("%s: %s", domain, out)
		}
	}
}
