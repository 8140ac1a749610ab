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
		mirror := d.MustRun(t, "report", "mirror")
		if strings.Contains(mirror, "example.com: 53 messages, 44 pass DMARC, 9 fail\n") != (want == 9) {
			t.Errorf("%s: %s", domain, mirror)
		}
		if out := d.MustRun(t, "dmarc-reports", "--keep", forms); strings.Contains(out, "The daemon keeps 9 of them") != (want == 9) {
			t.Errorf("%s: %s", domain, out)
		}
	}
}

// TestReportDMARC asks a daemon that sends no reports, and one that has none to send yet.
func TestReportDMARC(t *testing.T) {
	t.Parallel()
	off, _ := daemontest.StartWithSocket(t, nil, "")
	if r := off.Command(t, "report", "dmarc"); r.Code != 1 || !strings.Contains(r.Stderr, "set checks.dmarc.reports.from") {
		t.Errorf("exit status %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	on, _ := daemontest.StartWithSocket(t, nil, "checks: {dmarc: {reports: {from: postmaster@mx.test}}}\n")
	if out := on.MustRun(t, "report", "dmarc"); !strings.Contains(out, "Today, to be sent after midnight UTC: 0 domains\n") {
		t.Errorf("%s", out)
	}
	if r := on.Command(t, "report", "dmarc", "example.com", "--yesterday"); r.Code != 1 || !strings.Contains(r.Stderr, "no report about example.com") {
		t.Errorf("exit status %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if r := on.Command(t, "report", "dmarc", "--xml"); r.Code != 2 {
		t.Errorf("exit status %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if out := on.MustRun(t, "report", "daily"); !strings.Contains(out, "DMARC reports sent:") || strings.Contains(off.MustRun(t, "report", "daily"), "DMARC") {
		t.Errorf("%s", out)
	}
}
