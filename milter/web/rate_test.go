package web

import (
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	t.Parallel()
	rate := Rate{Burst: 2, Interval: time.Minute}
	start := time.Unix(1000, 0)
	var b Bucket
	for _, step := range []struct {
		name  string
		at    time.Duration
		allow bool
	}{
		{"first event", 0, true},
		{"second event", 0, true},
		{"third event", 0, false},
		{"before the end of an interval", 59 * time.Second, false},
		{"after an interval", 60 * time.Second, true},
		{"clock set back", -time.Hour, false},
		{"after two intervals", 3 * time.Minute, true},
		{"one more", 3 * time.Minute, true},
		{"burst used up again", 3 * time.Minute, false},
	} {
		now := start.Add(step.at)
		if got := b.Allows(rate, now); got != step.allow {
			t.Errorf("%s: %v", step.name, got)
		}
		if step.allow {
			b.Add(rate, now)
		}
	}
}

// TestBuckets tests that keys are limited separately, and deleted when their burst is full again.
func TestBuckets(t *testing.T) {
	t.Parallel()
	rate := Rate{Burst: 1, Interval: time.Minute}
	now := time.Unix(1000, 0)
	bs := Buckets[string]{}
	bs.Add("a", rate, now)
	if bs["a"].Allows(rate, now) || !bs["b"].Allows(rate, now) {
		t.Errorf("a: %v, b: %v", bs["a"].Allows(rate, now), bs["b"].Allows(rate, now))
	}
	bs.Add("b", rate, now.Add(time.Minute))
	if len(bs) != 1 || !bs["a"].Allows(rate, now.Add(time.Minute)) {
		t.Errorf("after a minute: %v", bs)
	}
}
