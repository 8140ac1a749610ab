package msgfields_test

import (
	"strings"
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/headers"
)

// TestHostileDates tests that many dates of many words do not keep a processor busy.
func TestHostileDates(t *testing.T) {
	t.Parallel()
	header := with("Date", "Date: Sat, 21 Nov 2020 12:00:00 +0000")
	for range 1000 {
		header = append(header, headers.Field{Name: "Received", Value: " by mx.example.org; 10:15 " + strings.Repeat("\xc0 ", 125)})
	}
	c, r := build(t), checktest.Session{Header: header}.Request(t)
	if took := checktest.CPUTime(t, func() { _, _ = c.Check(t.Context(), r) }); took > 1500*time.Millisecond {
		t.Errorf("took %s", took)
	}
}
