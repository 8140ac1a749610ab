package spf_test

import (
	"fmt"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts/spf"
)

// TestPrefetch tests that all questions of CheckHost are prefetched, in as few round trips as possible.
func TestPrefetch(t *testing.T) {
	t.Parallel()
	zone := `example.net TXT "v=spf1 include:%{d2}.inc.example.com exists:%{ir}.%{v}.example.org mx a:a.example.net redirect=r.example.com exp=why.example.net"
example.net.inc.example.com TXT "v=spf1 a mx:mx.example.com ?ip4:192.0.2.0/24"
mx.example.com MX 0 host.example.com
example.net MX 0 host.example.net
host.example.net A 198.51.100.1
r.example.com TXT "v=spf1 a -all"
why.example.net TXT "Because."`
	rec := &checktest.Recorder{Resolver: checktest.NewZone(t, zone)}
	rounds, prefetched := follow(t, rec.Resolver, spf.Prefetch(mail))
	if rounds != 4 {
		t.Errorf("%d round trips, want 4", rounds)
	}
	if ev, err := spf.CheckHost(t.Context(), rec, mail); ev.Result != spf.PermError || err != nil {
		t.Fatalf("%+v, %v", ev, err)
	}
	for _, q := range rec.Asked() {
		if !prefetched[q] {
			t.Errorf("%s was not prefetched", q)
		}
	}
}

// TestPrefetchIsBounded uses records that include each other many times.
func TestPrefetchIsBounded(t *testing.T) {
	t.Parallel()
	var zone strings.Builder
	for n := range 12 {
		fmt.Fprintf(&zone, "%d.example.net TXT \"v=spf1", n)
		for m := range 12 {
			fmt.Fprintf(&zone, " include:%d.example.net", m)
			if m == n%5 {
				break
			}
		}
		zone.WriteString("\"\n")
	}
	resolver := checktest.NewZone(t, zone.String())
	for n := range 12 {
		subject := mailFrom("192.0.2.9", "user", fmt.Sprintf("%d.example.net", n))
		count := 0
		for left := spf.Prefetch(subject); len(left) > 0; left = left[1:] {
			count++
			a, err := resolver.Lookup(t.Context(), left[0].Question)
			if err == nil && left[0].Then != nil {
				left = append(left, left[0].Then(a)...)
			}
		}
		if count > 80 {
			t.Errorf("record %d: %d questions", n, count)
		}
	}
}

// follow asks prefetched questions and those that follow from the answers. It returns the number of round trips.
func follow(t *testing.T, r checks.Resolver, queries []checks.Query) (rounds int, asked map[string]bool) {
	t.Helper()
	asked = map[string]bool{}
	for ; len(queries) > 0; rounds++ {
		var next []checks.Query
		for _, q := range queries {
			asked[q.String()] = true
			if q.Then != nil {
				a, err := r.Lookup(t.Context(), q.Question)
				if err != nil {
					t.Fatal(err)
				}
				next = append(next, q.Then(a)...)
			}
		}
		queries = next
	}
	return rounds, asked
}
