package greylist_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/greylist"
)

// history is a delivery: the client, the sender, the recipient, and the times of its attempts.
type history struct {
	client, from, to string
	tries            []time.Duration
}

// play sends the attempts in the order of their times, and sets the clock to the end.
func (w *site) play(t *testing.T, start time.Time, end time.Duration, hs ...history) {
	t.Helper()
	type try struct {
		at time.Duration
		h  history
	}
	var tries []try
	for _, h := range hs {
		for _, at := range h.tries {
			tries = append(tries, try{at, h})
		}
	}
	slices.SortStableFunc(tries, func(a, b try) int { return int(a.at - b.at) })
	p := w.daemon(t)
	for _, x := range tries {
		w.now = start.Add(x.at)
		w.send(p, mail{client: x.h.client, from: x.h.from, to: []string{x.h.to}})
	}
	w.now = start.Add(end)
}

func (w *site) report(t *testing.T) greylist.Report {
	t.Helper()
	r, err := greylist.Retry(context.Background(), w.store, w.now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReport(t *testing.T) {
	t.Parallel()
	const m, h = time.Minute, time.Hour
	w := newSite(t)
	w.change = func(s *greylist.Settings) { s.AutoAllow = 0 }
	var hs []history
	add := func(client, from string, tries ...time.Duration) {
		hs = append(hs, history{client, from, fmt.Sprintf("u%d@example.org", len(hs)), tries})
	}
	for range 20 {
		add("192.0.2.10", "a@example.net", 0, 4*m+30*time.Second) // an honest server
	}
	add("192.0.2.10", "a@example.net", 0, 5*time.Second, 10*m) // tries the other MX host at once
	add("192.0.2.99", "a@early.example", 0, m)                 // too early, and no more
	for range 3 {
		add("198.51.100.10", "spam@example.com", 0) // does not retry, though it has a name
	}
	add("2001:db8:0:1::1", "b@late.example", 70*h)                      // may still retry
	pool := []string{"203.0.113.7", "198.51.100.99", "2001:db8:0:2::1"} // each retry from another host
	for _, client := range pool {
		hs = append(hs, history{client, "c@pool.example", "pool@example.org", []time.Duration{h}})
	}
	hs = append(hs, history{"192.0.2.99", "c@pool.example", "pool@example.org", []time.Duration{2 * h, 3 * h}})
	w.play(t, checktest.Now, 72*h, hs...)

	r := w.report(t)
	if want := (greylist.Counts{Held: 30, Passed: 22, Waiting: 1, Gone: 7, Early: 1, Moved: 3}); r.Counts != want {
		t.Errorf("got %+v, want %+v", r.Counts, want)
	}
	if r.Took.Count != 23 || r.Took.Median != 270 || r.Took.P5 != 270 || r.Took.P95 != 600 || r.Delay != 240 {
		t.Errorf("took %+v, delay %d", r.Took, r.Delay)
	}
	var buckets []string
	for _, b := range r.Took.Buckets {
		if b.Count > 0 {
			buckets = append(buckets, fmt.Sprint(b.AtMost, "=", b.Count))
		}
	}
	if want := []string{"60=1", "300=20", "600=1", "3600=1"}; !slices.Equal(buckets, want) {
		t.Errorf("buckets %q, want %q", buckets, want)
	}
	var groups []string
	for _, g := range r.Groups {
		groups = append(groups, fmt.Sprintf("%s named=%v held=%d passed=%d gone=%d moved=%d", g.Domain, g.Named, g.Held, g.Passed, g.Gone, g.Moved))
	}
	want := []string{
		"example.net named=true held=24 passed=21 gone=3 moved=0",
		"pool.example named=false held=4 passed=1 gone=3 moved=3",
		"early.example named=false held=1 passed=0 gone=1 moved=0",
		"late.example named=false held=1 passed=0 gone=0 moved=0",
	}
	if !slices.Equal(groups, want) {
		t.Errorf("groups\n%q, want\n%q", groups, want)
	}
	var entries []string
	for _, e := range r.NoRetry {
		entries = append(entries, e.Sender+" "+e.Date)
	}
	if want := []string{"198.51.100.0/24 2026-11-24", "2001:db8:0:2::/64 2026-11-24", "203.0.113.0/24 2026-11-24"}; !slices.Equal(entries, want) {
		t.Errorf("entries %q, want %q", entries, want)
	}
	if len(r.Examples) != 7 || r.Examples[0].From != "c@pool.example" {
		t.Errorf("examples %+v", r.Examples)
	}
}

func TestReportOfNamedClientWithoutRetry(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	var hs []history
	for i := range 3 {
		hs = append(hs, history{"192.0.2.10", "a@example.com", fmt.Sprintf("u%d@example.org", i), []time.Duration{0}})
	}
	w.play(t, checktest.Now, 49*time.Hour, hs...)
	r := w.report(t)
	if len(r.NoRetry) != 1 || r.NoRetry[0].Sender != ".example.net" || r.Delay != 0 {
		t.Errorf("got %+v", r)
	}
	w.now = checktest.Now.Add(7*24*time.Hour + time.Second)
	if r := w.report(t); r.Held != 0 {
		t.Errorf("after the period: %+v", r.Counts)
	}
	w.now = checktest.Now.Add(9*24*time.Hour - time.Second)
	if got := w.show(t, ""); len(got) != 3 {
		t.Errorf("expired too early: %q", got)
	}
	w.now = checktest.Now.Add(9 * 24 * time.Hour)
	if got := w.show(t, ""); len(got) != 0 {
		t.Errorf("did not expire: %q", got)
	}
}

func TestReportLeavesOutWhatWasNotHeld(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	w.suspicions = nil
	w.play(t, checktest.Now, 49*time.Hour, history{"192.0.2.10", "a@example.net", "u@example.org", []time.Duration{0, time.Hour}})
	if r := w.report(t); r.Held != 0 {
		t.Errorf("unsuspected: %+v", r.Counts)
	}
	w = newSite(t)
	w.actions["greylisted"] = 1 // watch
	w.play(t, checktest.Now, 49*time.Hour, history{"192.0.2.10", "a@example.net", "u@example.org", []time.Duration{0, time.Hour}})
	if r := w.report(t); r.Held != 0 {
		t.Errorf("watched: %+v", r.Counts)
	}
}

// TestReportWithShortDelay tests that a retry in the first half minute counts as one if the delay is over.
func TestReportWithShortDelay(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	w.change = func(s *greylist.Settings) { s.Delay = 5 * time.Second }
	w.play(t, checktest.Now, time.Hour, history{"192.0.2.99", "a@example.net", "u@example.org", []time.Duration{0, 10 * time.Second}})
	r := w.report(t)
	if want := (greylist.Counts{Held: 1, Passed: 1}); r.Counts != want || r.Took.Median != 10 {
		t.Errorf("got %+v and %+v, want %+v after 10 s", r.Counts, r.Took, want)
	}
}

// flooded is a store with n triplets that were not retried, each of another made-up domain.
type flooded struct {
	checks.Store
	n int
}

// Scan implements checks.Store.
func (s flooded) Scan(_ context.Context, prefix string) iter.Seq2[checks.Record, error] {
	return func(yield func(checks.Record, error) bool) {
		if prefix != "greylist:wait:" {
			return
		}
		for i := range s.n {
			first := checktest.Now.Add(-3*24*time.Hour).Unix() + int64(i%1000)
			value := fmt.Sprintf(`{"id":"192.0.2.0/24","from":"a@x%d.example","to":"u@example.org","why":"suspicious","first":%d,"until":%d}`, i, first, first+1)
			if !yield(checks.Record{Key: fmt.Sprint(prefix, i), Value: []byte(value)}, nil) {
				return
			}
		}
	}
}

// TestReportOfAFlood tests that made-up senders and domains are counted, and do not make the report longer than a limit.
func TestReportOfAFlood(t *testing.T) {
	t.Parallel()
	const n = 25_000
	r, err := greylist.Retry(t.Context(), flooded{n: n}, checktest.Now)
	if err != nil || r.Held != n || r.Gone != n || len(r.Groups) != 10_000 {
		t.Errorf("%v, %+v, %d groups", err, r.Counts, len(r.Groups))
	}
	if len(r.Examples) != 20 || !r.Examples[19].First.Equal(checktest.Now.Add(-3*24*time.Hour+999*time.Second)) {
		t.Errorf("not the last examples: %+v", r.Examples)
	}
}
