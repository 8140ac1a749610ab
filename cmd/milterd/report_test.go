package main

import (
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/dmarc/report"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/evidence"
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

// TestProposedNames tests that lines and commands which a report proposes have the whole of a long name.
func TestProposedNames(t *testing.T) {
	t.Parallel()
	name := strings.Repeat(strings.Repeat("x", 60)+".", 3) + "example"
	var out strings.Builder
	showForwarders(&out, evidence.ForwarderReport{Forwarders: []evidence.Forwarder{{Client: name}}})
	showPreview(&out, dmarcReport{Preview: &report.Preview{Outgoing: report.Outgoing{Domain: name}}})
	for _, want := range []string{"\n  forwarders: [\"" + name + "\"]\n", "milterd report dmarc " + name + " --xml\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, &out)
		}
	}
}

// TestWatchOfEnforced tests what report watch says of a reason that is not watched.
func TestWatchOfEnforced(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	showWatch(&out, watchReport{})
	if got := out.String(); !strings.Contains(got, "milterd report action shows those that are enforced") || strings.Contains(got, "VERDICT") {
		t.Errorf("got %s", got)
	}
}

// TestWatchOfUnseen tests what report watch says of reasons that never applied.
func TestWatchOfUnseen(t *testing.T) {
	t.Parallel()
	seen, unseen := evidence.Watched{Reason: "no-tls", Occasions: 1}, evidence.Watched{Reason: "dkim-none"}
	for _, c := range []struct {
		name    string
		reasons []evidence.Watched
		want    string
	}{
		{"one that is asked for", []evidence.Watched{unseen}, "dkim-none never applied."},
		{"all", []evidence.Watched{unseen, unseen}, "No reason of this report has applied yet."},
		{"one beside another", []evidence.Watched{seen, unseen}, "1 other reason of this report never applied."},
		{"some", []evidence.Watched{seen, unseen, unseen}, "2 other reasons of this report never applied."},
		{"none", []evidence.Watched{seen, seen}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			showWatch(&out, watchReport{WatchReport: evidence.WatchReport{Reasons: c.reasons}})
			if got := out.String(); !strings.Contains(got, c.want) || c.want == "" && strings.Contains(got, "applied") {
				t.Errorf("no %q in\n%s", c.want, got)
			}
		})
	}
}
