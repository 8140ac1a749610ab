package main

import (
	"strings"
	"testing"

	"milterd/checks"
	"milterd/milter/records"
)

// TestStatusSaysWhetherAllIsWell tests the first line of the command status, and how counts are named.
func TestStatusSaysWhetherAllIsWell(t *testing.T) {
	t.Parallel()
	dead := checks.Condition{Check: "dnsbl", Name: "bl.example", State: "off", Why: "it does not answer", Counts: map[string]uint64{"left_out": 3}}
	for want, s := range map[string]daemonStatus{
		"state\tok\n": {Checks: []checks.Condition{{Check: "dnsbl", Name: "bl.example", State: "on"}}},
		"state\tneeds attention: dnsbl bl.example\n": {Checks: []checks.Condition{dead}},
		"state\tneeds attention: 1 problem, 2 warnings\nproblem\ta\nwarning\tb\nwarning\tc\nversion": {
			Problems: []string{"a"}, Warnings: []string{"b", "c"},
		},
		"rate\tann over, 1 recipient over; the limit": {Checks: []checks.Condition{
			{Check: "rate", Name: "ann", State: "over", Why: "the limit", Counts: map[string]uint64{"recipients_over": 1}},
		}},
		"state\tneeds attention: 3 decision records were dropped, 4 log lines were dropped\n": {
			Records: records.Stats{Dropped: 3}, LogDropped: 4,
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
