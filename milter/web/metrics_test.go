package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.yaml.in/yaml/v4"

	"milterd/checks"
	"milterd/milter"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/store/status"
)

var _ milter.Journal = (*Metrics)(nil)

var helo = &checks.Reason{ID: "helo-mismatch"}

// newTestMetrics returns the metrics of a daemon with two checks and with counts in all components.
func newTestMetrics() *Metrics {
	return NewMetrics([]checks.Info{{Name: "helo"}, {Name: "dnsbl"}}, "v1 go1.26", Components{
		Connections: func() int { return 3 },
		LogDropped:  func() uint64 { return 4 },
		ConfigValid: func() bool { return true },
		Records:     func() records.Stats { return records.Stats{Written: 5, Dropped: 6} },
		Store:       func() status.Store { return status.Store{OK: true, Errors: 7, Records: 8, Bytes: 9} },
		DNS:         func() resolver.Stats { return resolver.Stats{Queries: 10, Hits: 11, ServFail: 12, Entries: 13} },
		Checks: func() []checks.Condition {
			return []checks.Condition{
				{Check: "dnsbl", Name: "bl.example (client)", State: "on", Counts: map[string]uint64{"queries": 14, "hits": 15}},
				{Check: "access", Name: "/deny\xff", State: "old"},
				{Check: "access", Name: "/deny\xff", State: "old"}, // configured twice
			}
		},
	})
}

// scrape returns the metrics as Prometheus reads them.
func scrape(t testing.TB, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Fatalf("got %d %s: %s", w.Code, w.Header(), w.Body)
	}
	return w.Body.String()
}

// fill counts a decision with a failed check, an accepted message, and the duration of a check.
func fill(m *Metrics) {
	m.Decided(checks.NewRequest(&checks.Session{}, checks.RcptTo), checks.Decision{
		Outcomes: []checks.Outcome{{Check: "helo", Stage: checks.Helo, Reason: helo, Action: checks.Reject}},
		Failures: []checks.Failure{{Check: "dnsbl", Err: errors.New("timeout")}, {Check: "helo", Err: context.Canceled}},
	})
	m.Accepted(checks.NewRequest(&checks.Session{}, checks.EndOfHeader))
	m.Took("dnsbl", 20*time.Millisecond)
	m.Took("unknown", time.Second)
}

// TestMetrics compares the metrics with the counts, and has Prometheus check their names and help.
func TestMetrics(t *testing.T) {
	t.Parallel()
	m := newTestMetrics()
	fill(m)
	got := strings.Split(scrape(t, m), "\n")
	for _, line := range []string{
		`milterd_verdicts_total{action="reject",check="helo",reason="helo-mismatch",stage="` + checks.Helo.String() + `"} 1`,
		`milterd_accepted_total 1`,
		`milterd_check_errors_total{check="dnsbl"} 1`,
		`milterd_check_errors_total{check="helo"} 0`,
		`milterd_check_seconds_bucket{check="dnsbl",le="0.01"} 0`,
		`milterd_check_seconds_bucket{check="dnsbl",le="0.05"} 1`,
		`milterd_check_seconds_count{check="helo"} 0`,
		`milterd_build_info{version="v1 go1.26"} 1`,
		`milterd_connections 3`,
		`milterd_log_dropped_total 4`,
		`milterd_records_written_total 5`,
		`milterd_records_dropped_total 6`,
		`milterd_store_up 1`,
		`milterd_store_errors_total 7`,
		`milterd_store_records 8`,
		`milterd_store_bytes 9`,
		`milterd_resolver_queries_total 10`,
		`milterd_resolver_cache_hits_total 11`,
		`milterd_resolver_failures_total{kind="servfail"} 12`,
		`milterd_resolver_failures_total{kind="timeout"} 0`,
		`milterd_resolver_cache_entries 13`,
		`milterd_condition{check="dnsbl",name="bl.example (client)",state="on"} 1`,
		`milterd_condition_counts{check="dnsbl",count="queries",name="bl.example (client)"} 14`,
		`milterd_condition_counts{check="dnsbl",count="hits",name="bl.example (client)"} 15`,
		"milterd_condition{check=\"access\",name=\"/deny\uFFFD\",state=\"old\"} 1",
	} {
		if !slices.Contains(got, line) {
			t.Errorf("missing: %s", line)
		}
	}
	if slices.ContainsFunc(got, func(l string) bool { return strings.Contains(l, "unknown") }) {
		t.Error("a check that is not in the registry has a series")
	}
	if problems, err := testutil.GatherAndLint(m.registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

// TestMetricsOfUnknownSize tests that the size of the store is left out if it is unknown.
func TestMetricsOfUnknownSize(t *testing.T) {
	t.Parallel()
	m := NewMetrics(nil, "", Components{
		Connections: func() int { return 0 }, LogDropped: func() uint64 { return 0 },
		Records: func() records.Stats { return records.Stats{} }, DNS: func() resolver.Stats { return resolver.Stats{} },
		Store:  func() status.Store { return status.Store{Records: -1, Bytes: -1} },
		Checks: func() []checks.Condition { return nil }, ConfigValid: func() bool { return false },
	})
	got := scrape(t, m)
	if !strings.Contains(got, "\nmilterd_store_up 0\n") || !strings.Contains(got, "\nmilterd_config_valid 0\n") || strings.Contains(got, "milterd_store_records") || strings.Contains(got, "milterd_store_bytes") {
		t.Errorf("got %s", got)
	}
}

// TestMetricsConcurrent counts in several goroutines.
func TestMetricsConcurrent(t *testing.T) {
	t.Parallel()
	m := newTestMetrics()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				fill(m)
			}
		})
	}
	scrape(t, m)
	all.Wait()
	if !strings.Contains(scrape(t, m), "\nmilterd_accepted_total 400\n") {
		t.Error("counts were lost")
	}
}

// exampleMetrics returns the names of the metrics that a file in the folder examples uses. It fails the test if one of them does
// not exist.
func exampleMetrics(t *testing.T, text []byte) []string {
	t.Helper()
	exist := metricNames(t)
	used := regexp.MustCompile(`\b(milterd|go|process)_[a-z_]+`).FindAllString(string(text), -1)
	for _, name := range used {
		if !slices.Contains(exist, name) {
			t.Errorf("there is no metric %s", name)
		}
	}
	return used
}

func metricNames(t *testing.T) []string {
	t.Helper()
	m := newTestMetrics()
	fill(m)
	return regexp.MustCompile(`(?m)^[a-z_]+`).FindAllString(scrape(t, m), -1)
}

func readExample(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("../../examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestExampleAlerts tests that the alert rules are complete and use existing metrics.
func TestExampleAlerts(t *testing.T) {
	t.Parallel()
	text := readExample(t, "alerts.yml")
	exampleMetrics(t, text)
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Load(text, &rules, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || r.Expr == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("incomplete: %+v", r)
			}
		}
	}
}

// TestExampleGrafanaDashboard tests that the dashboard is complete and shows every metric of milterd.
func TestExampleGrafanaDashboard(t *testing.T) {
	t.Parallel()
	text := readExample(t, "grafana.json")
	used := exampleMetrics(t, text)
	for _, name := range metricNames(t) {
		if strings.HasPrefix(name, "milterd_") && !slices.Contains(used, name) {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		if p.Title == "" || len(p.Targets) == 0 || slices.ContainsFunc(p.Targets, func(t struct{ Expr string }) bool { return t.Expr == "" }) {
			t.Errorf("incomplete: %+v", p)
		}
	}
}

// BenchmarkMetrics measures one decision of twelve checks with one outcome.
func BenchmarkMetrics(b *testing.B) {
	m := newTestMetrics()
	d := checks.Decision{Outcomes: []checks.Outcome{{Check: "helo", Stage: checks.Helo, Reason: helo, Action: checks.Reject}}}
	b.ReportAllocs()
	for b.Loop() {
		for range 12 {
			m.Took("dnsbl", 20*time.Millisecond)
		}
		m.Decided(checks.NewRequest(&checks.Session{}, checks.RcptTo), d)
	}
}
