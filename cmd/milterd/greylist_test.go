package main

import (
	"strings"
	"testing"

	"milterd/checks/greylist"
)

// TestTripletsArePrintable tests that the list of triplets has none of the control characters that a client can send in an
// address, and that a long address is not cut.
func TestTripletsArePrintable(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 64) + "@" + strings.Repeat("y", 60) + ".example"
	var out strings.Builder
	showTriplets(&out, []greylist.Triplet{{From: "\x1b[2J\t@x", To: long}})
	if got := out.String(); strings.Contains(got, "\x1b") || !strings.Contains(got, "\t<?[2J @x>\t<"+long+">\t") {
		t.Errorf("shown: %q", got)
	}
}
