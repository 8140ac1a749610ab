package main

import (
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/store"
)

// TestStatusSaysWhetherAllIsWell tests the first line of the command status, and how counts are named.
func TestStatusSaysWhetherAllIsWell(t *testing.T) {
	t.Parallel()
	dead := checks.Condition{Check: "dnsbl", Name: "bl.example", State: "off", Why: "it does not answer", Counts: map[string]uint64{"failures": 0, "left_out": 3}}
	for want, s := range map[string]daemonStatus{
		"state\tok\n": {Checks: []checks.Condition{{Check: "dnsbl", Name: "bl.example", State: "on"}}},
		"state\tneeds attention: dnsbl bl.example\n": {Checks: []checks.Condition{dead}},
		"state\tneeds attention: 1 problem, 2 warnings\nproblem\ta\nwarning\tb\nwarning\tc\nversion": {
			Problems: []string{"a"}, Warnings: []string{"b", "c"},
		},
		"rate\tann over, 1 recipient over; the limit": {Checks: []checks.Condition{
			{Check: "rate", Name: "ann", State: "over", Why: "the limit", Counts: map[string]uint64{"recipients_over": 1}},
		}},
		"state\tneeds attention: 1 decision record dropped since the start, while the store was down or slow, " +
			"4 log lines dropped since the start, as the log did not take them\n": {Records: records.Stats{Dropped: 1}, LogDropped: 4},
		"store\tredis redis://h, ok since -\n\t3 keys at the last count, unknown size, 0 errors\n": {
			Store: store.Status{Driver: "redis", Place: "redis://h", OK: true, Records: 3, Bytes: -1},
		},
		"store\tredis, down since -\n": {Store: store.Status{Driver: "redis", Error: "it is gone"}},
		"callout\tmail hosts on; not asked: mx.example.net\n": {
			Checks: []checks.Condition{{Check: "callout", Name: "mail hosts", State: "on", Note: "not asked: mx.example.net"}},
		},
		"dnsbl\tbl.example off, 3 left out; it does": {Checks: []checks.Condition{dead}},
	} {
		var out strings.Builder
		showStatus(&out, s)
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestAttention tests what the pages and the daily report say needs the operator's attention.
func TestAttention(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, func(*config.Config) {})
	conditions := []checks.Condition{
		{Check: "dnsbl", Name: "bl.example", State: "off", Why: "it lists the world"},
		{Check: "access", Name: "/etc/deny", State: "on"},
		{Check: "callout", Name: "mail hosts", State: "on", Note: "not asked: mx.example.net"},
	}
	if got := d.attention(nil); got == nil || len(got) > 0 {
		t.Errorf("nothing is wrong: %q", got)
	}
	installed, _ := serveOperatorPages(t, func(c *config.Config) { c.LocalDomains = nil })
	if got := installed.attention(nil); len(got) != 1 || !strings.Contains(got[0], "local_domains: there are none") {
		t.Errorf("without local domains: %q", got)
	}
	d.serving.Store(false)
	want := []string{"no mail server can connect: the daemon starts or stops", "dnsbl bl.example is off: it lists the world"}
	if got := d.attention(conditions); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestStateWarnings tests what the daemon says of a store in memory, of keys that wait for a restart, and of silent name servers.
func TestStateWarnings(t *testing.T) {
	t.Parallel()
	if got := stateWarnings("embedded", "embedded", nil, resolver.Stats{Unanswered: manyUnanswered - 1}); len(got) > 0 {
		t.Errorf("warnings without a cause: %q", got)
	}
	if got := stateWarnings("memory", "memory", nil, resolver.Stats{}); len(got) > 0 {
		t.Errorf("warnings about the configured store: %q", got)
	}
	got := stateWarnings("embedded", "memory", []string{"explain", "store"}, resolver.Stats{Unanswered: manyUnanswered})
	if len(got) != 3 || !strings.Contains(got[0], "explain, store; run systemctl restart") || !strings.Contains(got[1], "in memory and lost") ||
		!strings.Contains(got[2], "the last 50 questions") {
		t.Errorf("warnings: %q", got)
	}
	got = stateWarnings("memory", "memory", nil, resolver.Stats{Unanswered: manyUnanswered, Denying: []string{"192.0.2.53:53"}})
	if len(got) != 1 || !strings.Contains(got[0], "name server 192.0.2.53:53 denies all names") {
		t.Errorf("warnings of a server that denies all names: %q", got)
	}
}
