package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/milter/resolver"
	"milterd/milter/web"
	"milterd/milter/web/dashboard"
)

// TestSeedHistory tests that the charts show the records from before the start of the daemon, and only those.
func TestSeedHistory(t *testing.T) {
	t.Parallel()
	d := newRecordingDaemon(t, nil)
	s := &checks.Session{ID: "s1", Time: time.Now().Add(-2 * time.Hour)}
	for range 3 {
		d.records.Accepted(checks.NewRequest(s, checks.EndOfHeader))
	}
	awaitRecords(t, d, 3)
	d.started = time.Now().Add(-time.Hour)
	after := &checks.Session{ID: "s2", Time: time.Now()}
	d.records.Accepted(checks.NewRequest(after, checks.EndOfHeader))
	awaitRecords(t, d, 4)
	if err := d.seedHistory(t.Context(), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	pages, err := dashboard.New(dashboard.Config{
		Profile:  func() string { return "" },
		Profiles: func() []string { return nil },
		Components: web.Components{
			Connections: func() int { return 0 },
			LogDropped:  func() uint64 { return 0 },
			Records:     d.recordStats,
			Store:       d.store.Status,
			DNS:         func() resolver.Stats { return resolver.Stats{} },
			Checks:      func() []checks.Condition { return nil },
			ConfigValid: func() bool { return true },
		},
		Attention: d.problems,
		History:   d.history,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, httptest.NewRequest("GET", "/?period=day", nil))
	if !strings.Contains(w.Body.String(), `accept</span> <strong>3</strong>`) {
		t.Error(w.Body)
	}
	_ = d.store.Close()
	if err := d.seedHistory(t.Context(), time.Millisecond); err == nil {
		t.Error("no error of a closed store")
	}
}
