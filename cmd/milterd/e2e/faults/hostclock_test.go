package faults

import (
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/cmd/milterd/internal/hostclock"
	"milterd/milter/miltertest"
)

// buildWithClock builds milterd with a clock that a test can move.
var buildWithClock = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "milterd-clock-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := hostclock.Overlay(dir)
	if err != nil {
		return "", err
	}
	flags := []string{"-trimpath", "-overlay", overlay}
	if os.Getenv("MILTERD_TEST_SOAK") == "" {
		// To compile every package again with the race detector takes longer than one round of faults.
		return daemontest.BuildWithoutRace(flags...)
	}
	return daemontest.Build(flags...)
})

// newClock returns the clock of a daemon.
func newClock(t *testing.T, file string) *hostclock.Clock {
	t.Helper()
	c, err := hostclock.New(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// clockOffsets are the offsets of the clock in a soak.
var clockOffsets = []time.Duration{
	3 * time.Hour, -3 * time.Hour, 40 * 24 * time.Hour, -40 * 24 * time.Hour, 3653 * 24 * time.Hour, -3653 * 24 * time.Hour,
}

// clockFaults are jumps of the clock, each there and back.
func clockFaults() []fault {
	var all []fault
	for _, offset := range clockOffsets {
		all = append(all, fault{
			name: fmt.Sprintf("a clock that is off by %+.0f h", offset.Hours()),
			begin: func(_ *testing.T, s *soak) func() {
				s.clock.Set(offset)
				return func() { s.clock.Set(0) }
			},
			effective: func(t *testing.T, s *soak) bool { return (s.clockOffset(t) - offset).Abs() < time.Minute },
		})
	}
	return append(all, fault{name: "a clock that jumps all the time", begin: jumpingClock})
}

// jumpingClock moves the clock every few milliseconds, also during sessions.
func jumpingClock(t *testing.T, s *soak) (end func()) {
	stop := daemontest.Repeat(t, 1, func(i int) {
		s.clock.Set(clockOffsets[i%len(clockOffsets)])
		<-time.After(3 * time.Millisecond)
	})
	return func() { stop(); s.clock.Set(0) }
}

// clockOffset returns the offset of the clock that the daemon reads, from the Date of an HTTP response.
func (s *soak) clockOffset(t *testing.T) time.Duration {
	t.Helper()
	client := http.Client{Timeout: miltertest.WaitTimeout}
	resp, err := client.Head(s.admin + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		t.Fatal(err)
	}
	return time.Until(date)
}
