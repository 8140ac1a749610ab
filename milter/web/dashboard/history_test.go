package dashboard

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter"
	"milterd/milter/records"
)

var _ milter.Journal = (*History)(nil)

// summary formats what a period shows: the totals by action and those of each reason, in alphabetical order.
func (h *History) summary(name string, now time.Time) string {
	s := h.series(name, now)
	var reasons []string
	for _, r := range s.reasons {
		reasons = append(reasons, fmt.Sprintf("; %s %d", r.id, r.total))
	}
	slices.Sort(reasons)
	return strings.Trim(fmt.Sprint(s.totals), "[]") + strings.Join(reasons, "")
}

// TestHistory counts records of several times and compares what each period shows.
func TestHistory(t *testing.T) {
	t.Parallel()
	now := checktest.Now
	ago := func(d time.Duration, action, reason string) records.Record {
		return records.Record{Time: now.Add(-d), Action: action, Reason: reason}
	}
	for _, c := range []struct {
		name            string
		records         []records.Record
		hour, day, week string
	}{
		{"nothing", nil, "0 0 0 0 0 0 0", "0 0 0 0 0 0 0", "0 0 0 0 0 0 0"},
		{"now", []records.Record{ago(0, "reject", "rdns-missing")}, "1 0 0 0 0 0 0; rdns-missing 1", "1 0 0 0 0 0 0; rdns-missing 1", "1 0 0 0 0 0 0; rdns-missing 1"},
		{"every action", []records.Record{
			ago(0, "reject", "spf-fail"), ago(0, "tempfail", "greylisted"), ago(0, "quarantine", "spf-fail"), ago(0, "greylist", "spf-fail"), ago(0, "tag", "spf-fail"), ago(0, "watch", "spf-fail"), ago(0, "accept", ""),
		}, "1 1 1 1 1 1 1; greylisted 1; spf-fail 5", "1 1 1 1 1 1 1; greylisted 1; spf-fail 5", "1 1 1 1 1 1 1; greylisted 1; spf-fail 5"},
		{"59 minutes old", []records.Record{ago(59*time.Minute, "watch", "helo-cname")}, "0 0 0 0 0 1 0; helo-cname 1", "0 0 0 0 0 1 0; helo-cname 1", "0 0 0 0 0 1 0; helo-cname 1"},
		{"an hour old", []records.Record{ago(time.Hour, "accept", "")}, "0 0 0 0 0 0 0", "0 0 0 0 0 0 1", "0 0 0 0 0 0 1"},
		{"a day old", []records.Record{ago(24*time.Hour, "accept", "")}, "0 0 0 0 0 0 0", "0 0 0 0 0 0 0", "0 0 0 0 0 0 1"},
		{"a week old", []records.Record{ago(7*24*time.Hour, "accept", "")}, "0 0 0 0 0 0 0", "0 0 0 0 0 0 0", "0 0 0 0 0 0 0"},
		{"old after new", []records.Record{ago(0, "accept", ""), ago(time.Hour, "accept", "")}, "0 0 0 0 0 0 1", "0 0 0 0 0 0 2", "0 0 0 0 0 0 2"},
		{"new after old", []records.Record{ago(time.Hour, "accept", ""), ago(0, "accept", "")}, "0 0 0 0 0 0 1", "0 0 0 0 0 0 2", "0 0 0 0 0 0 2"},
		{"counted while the clock was 1000 days ahead", []records.Record{ago(-1000*24*time.Hour, "reject", "spf-fail"), ago(0, "accept", "")}, "0 0 0 0 0 0 1", "0 0 0 0 0 0 1", "0 0 0 0 0 0 1"},
		{"before 1970", []records.Record{{Time: time.Unix(-100000, 0), Action: "accept"}}, "0 0 0 0 0 0 0", "0 0 0 0 0 0 0", "0 0 0 0 0 0 0"},
		{"unknown reason and unknown action", []records.Record{ago(0, "reject", "of-a-check-that-is-gone"), ago(0, "explode", "spf-fail")}, "1 0 0 0 0 0 0; of-a-check-that-is-gone 1", "1 0 0 0 0 0 0; of-a-check-that-is-gone 1", "1 0 0 0 0 0 0; of-a-check-that-is-gone 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := NewHistory()
			for _, r := range c.records {
				h.Seed(r)
			}
			for period, want := range map[string]string{"hour": c.hour, "day": c.day, "week": c.week} {
				if got := h.summary(period, now); got != want {
					t.Errorf("%s: got %s, want %s", period, got, want)
				}
			}
		})
	}
}

// TestHistoryCountsDecisions tests which action and reason of a decision are counted, and that trusted sessions are not.
func TestHistoryCountsDecisions(t *testing.T) {
	t.Parallel()
	h := NewHistory()
	s := &checks.Session{Time: checktest.Now}
	missing := outcome(t, "rdns-missing", checks.Greylist, "")
	watched := outcome(t, "helo-mismatch", checks.Watch, "")
	reply := missing.Reply
	h.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{})
	h.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{Outcomes: []checks.Outcome{watched, missing, watched}})
	h.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{Outcomes: []checks.Outcome{missing, watched}, Reply: &reply, Reason: watched.Reason, Action: checks.Reject})
	h.Accepted(checks.NewRequest(s, checks.EndOfHeader))
	h.Accepted(checktest.Trusted(t, &checks.Session{Time: checktest.Now}))
	if got, want := h.summary("hour", checktest.Now), "1 0 0 1 0 0 1; helo-mismatch 1; rdns-missing 1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestHistoryConcurrent counts in several goroutines and reads the counts at the same time.
func TestHistoryConcurrent(t *testing.T) {
	t.Parallel()
	h := NewHistory()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				h.Accepted(checks.NewRequest(&checks.Session{Time: checktest.Now}, checks.EndOfHeader))
				h.summary("week", checktest.Now)
			}
		})
	}
	all.Wait()
	if got := h.summary("hour", checktest.Now); got != "0 0 0 0 0 0 4000" {
		t.Error(got)
	}
}

// TestNiceTop tests the end of the axis of a chart.
func TestNiceTop(t *testing.T) {
	t.Parallel()
	for n, want := range map[uint64]uint64{0: 2, 1: 2, 2: 2, 3: 4, 5: 6, 7: 10, 10: 10, 11: 20, 21: 40, 60: 60, 61: 100, 999: 1000, 1001: 2000, 1 << 40: 2_000_000_000_000} {
		if got := niceTop(n); got != want {
			t.Errorf("%d: got %d, want %d", n, got, want)
		}
	}
}

// BenchmarkHistory measures the counting of one decision.
func BenchmarkHistory(b *testing.B) {
	h := NewHistory()
	s := &checks.Session{Time: checktest.Now}
	o := outcome(b, "spf-none", checks.Watch, "")
	d := checks.Decision{Outcomes: []checks.Outcome{o}}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.Decided(checks.NewRequest(s, checks.RcptTo), d)
		}
	})
}
