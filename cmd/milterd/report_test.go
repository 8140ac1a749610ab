package main

import (
	"strings"
	"testing"

	"milterd/checks"
	"milterd/cmd/milterd/internal/config"
)

// TestReasonsOfEvidence tests which reasons the reports on evidence know: those of checks.
func TestReasonsOfEvidence(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{}
	if got, err := (evidenceArgs{Reason: "rdns-missing"}).settings(cfg); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	for _, r := range checks.PipelineReasons() {
		if _, err := (evidenceArgs{Reason: r.ID}).settings(cfg); err == nil || strings.Contains(err.Error(), "did you mean "+r.ID) {
			t.Errorf("%s: %v", r.ID, err)
		}
	}
}
