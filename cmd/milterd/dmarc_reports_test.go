package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// forms has reports in the forms of several makers.
const forms = "../../checks/facts/dmarc/aggregate/testdata/forms"

// TestDMARCReports shows reports as text and as JSON.
func TestDMARCReports(t *testing.T) {
	t.Parallel()
	out := printed(t, "dmarc-reports", forms)
	for _, want := range []string{
		"9 reports in 0 messages and 9 files\n", "example.com: 53 messages, 44 pass DMARC, 9 fail\n",
		"198.51.100.9    example.com  1         fail  fail  reject        Enterprise Outlook        2026-11-28  2026-11-28\n",
		"192.0.2.25      example.com  3         pass  pass  accept        Mail.Ru                   2026-11-28  2026-11-28\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out = printed(t, "dmarc-reports", "--json", forms, forms)
	var got reportTable
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Reports != 9 || got.Duplicates != 9 || len(got.Rows) != 18 || got.Rows[0].Passes() {
		t.Errorf("%v: %s", err, out)
	}
}

// TestNoDMARCReports tests the exit statuses.
func TestNoDMARCReports(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "mail.eml")
	writeFile(t, none, "From: a@example.net\n\nHello\n")
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{none}, 1, "0 reports in 1 message and 1 file"},
		{[]string{none + ".none"}, 1, "no such file"},
		{nil, exitUsage, "want an mbox file"},
		{[]string{"--keep", "--socket", none + ".sock", forms}, exitNoDaemon, "no daemon answers"},
	} {
		if code, out, errs := runLine(t, append([]string{"dmarc-reports"}, c.args...)...); code != c.status || !strings.Contains(out+errs, c.want) {
			t.Errorf("%q: exit status %d, %s%s", c.args, code, out, errs)
		}
	}
}
