package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

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

// TestListIsBounded tests that a list of all triplets takes bounded memory, and that one that is cut by the bound is an error.
func TestListIsBounded(t *testing.T) {
	t.Parallel()
	d := newRecordingDaemon(t, nil)
	for i := range maxTriplets {
		if err := d.store.Put(t.Context(), fmt.Sprintf("greylist:wait:%d", i), []byte(`{"to":"bob@example.org"}`), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := d.listTriplets(t.Context(), greylistArgs{}); err != nil || len(list) != maxTriplets {
		t.Errorf("%d triplets, %v; want %d", len(list), err, maxTriplets)
	}
	if err := d.store.Put(t.Context(), "greylist:wait:more", []byte(`{"to":"bob@example.org"}`), time.Hour); err != nil {
		t.Fatal(err)
	}
	if list, err := d.listTriplets(t.Context(), greylistArgs{Max: 10}); err != nil || len(list) != 10 {
		t.Errorf("--max 10: %d triplets, %v", len(list), err)
	}
	if list, err := d.listTriplets(t.Context(), greylistArgs{}); err == nil || !strings.Contains(err.Error(), "more than 100000 triplets") || len(list) > 0 {
		t.Errorf("--max 0: %d triplets, %v", len(list), err)
	}
}
