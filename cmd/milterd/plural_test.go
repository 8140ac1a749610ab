package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"milterd/checks/dmarc/report"
	"milterd/cmd/milterd/internal/feedback"
	"milterd/milter/mirror"
)

// TestSingular tests that what is there once has its name in the singular.
func TestSingular(t *testing.T) {
	t.Parallel()
	plural := regexp.MustCompile(`\b1 [a-z]+s\b.*`)
	one := report.Outgoing{Domain: "example.org", Messages: 1, Rows: 1}
	for name, show := range map[string]func(*strings.Builder){
		"dmarc-reports": func(w *strings.Builder) {
			showReportTable(w, reportTable{Reports: 1, Messages: 1, Files: 1, Duplicates: 1, Skipped: 1, Rows: []feedback.Row{{Domain: "example.org", Count: 1}}})
		},
		"report dmarc":        func(w *strings.Builder) { showOutgoing(w, dmarcReport{Today: []report.Outgoing{one}}) },
		"report dmarc DOMAIN": func(w *strings.Builder) { showPreview(w, dmarcReport{Preview: &report.Preview{Outgoing: one}}) },
		"report watch":        func(w *strings.Builder) { showPeriod(w, time.Time{}, time.Time{}, 1) },
		"report mirror":       func(w *strings.Builder) { showOutgoingMail(w, mirror.Report{Lost: 1}) },
	} {
		var out strings.Builder
		show(&out)
		if wrong := plural.FindString(out.String()); wrong != "" {
			t.Errorf("%s: %q", name, wrong)
		}
	}
}
