package log

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/milter/miltertest"
)

// TestFail2ban runs fail2ban-regex with the filter of the examples on lines of the log. What a client sends must not
// have another address banned.
func TestFail2ban(t *testing.T) {
	t.Parallel()
	miltertest.Require(t)
	program, err := exec.LookPath("fail2ban-regex")
	if err != nil {
		t.Fatalf("%v: run .ci/install", err)
	}
	refused := func(client, helo, reason string, action checks.Action) string {
		s, d := session(), decision()
		s.Client, s.Helo = netip.MustParseAddr(client), helo
		d.Failures = nil
		d.Outcomes[1].Reason, d.Outcomes[1].Action = &checks.Reason{ID: reason}, action
		d.Reason = d.Outcomes[1].Reason
		return logged(false, false, func(j Journal) { j.Decided(checks.NewRequest(s, checks.RcptTo), d) })
	}
	const forged = `x" rcpt=a stage=rcpt check=counters reason=client-blocked client=203.0.113.9 `
	lines := refused("192.0.2.1", "mail.example.net", "client-blocked", checks.Tempfail) +
		refused("2001:db8::1", "", "dnsbl-listed", checks.Reject) +
		refused("192.0.2.3", forged, "too-many-errors", checks.Reject) +
		refused("192.0.2.4", "mail.example.net", "rdns-missing", checks.Reject) +
		refused("192.0.2.5", forged, "helo-syntax", checks.Reject) +
		logged(false, false, func(j Journal) { j.Accepted(checks.NewRequest(session(), checks.RcptTo)) })
	var log strings.Builder
	for line := range strings.Lines(lines) {
		log.WriteString("Nov 29 09:00:00 mx milterd[123]: " + line)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "mail.log")
	if err := os.WriteFile(file, []byte(log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	filter, err := os.ReadFile("../../examples/fail2ban/filter.conf")
	if err != nil {
		t.Fatal(err)
	}
	// The file that the filter includes is searched beside it.
	if err := os.Symlink("/etc/fail2ban/filter.d/common.conf", filepath.Join(dir, "common.conf")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "milterd.conf"), filter, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "--out", "ip", file, filepath.Join(dir, "milterd.conf")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, want := strings.Fields(string(out)), []string{"192.0.2.1", "2001:db8::1", "192.0.2.3"}; !slices.Equal(got, want) {
		t.Errorf("banned %q, want %q\n%s", got, want, &log)
	}
}
