package checks_test

import (
	"testing"

	"milterd/checks"
)

// TestFinalOfWatched tests which reason stands for a decision of the profile watch, where all have one action: not the first, but the
// one that other profiles act on most severely.
func TestFinalOfWatched(t *testing.T) {
	t.Parallel()
	watched := func(id string, safe, strict checks.Action) checks.Outcome {
		return checks.Outcome{Action: checks.Watch, Reason: &checks.Reason{ID: id, Safe: safe, Strict: strict}}
	}
	noTLS := watched("no-tls", checks.Watch, checks.Watch)
	mismatch := watched("helo-mismatch", checks.Watch, checks.Reject)
	bareIP := watched("helo-bare-ip", checks.Reject, checks.Reject)
	pending := watched("callout-pending", checks.Off, checks.Tempfail)
	tagged := checks.Outcome{Action: checks.Tag, Reason: &checks.Reason{ID: "dmarc-fail"}}
	for _, test := range []struct {
		outcomes []checks.Outcome
		want     string
	}{
		{[]checks.Outcome{noTLS, mismatch, bareIP, pending}, "helo-bare-ip"},
		{[]checks.Outcome{noTLS, mismatch, pending}, "helo-mismatch"},
		{[]checks.Outcome{noTLS, noTLS}, "no-tls"},
		{[]checks.Outcome{bareIP, tagged, noTLS}, "dmarc-fail"},
	} {
		if _, reason := (checks.Decision{Outcomes: test.outcomes}).Final(); reason == nil || reason.ID != test.want {
			t.Errorf("%v, want %s", reason, test.want)
		}
	}
	if action, reason := (checks.Decision{}).Final(); action != checks.Off || reason != nil {
		t.Errorf("no outcome: %v %v", action, reason)
	}
}
