package main

import (
	"testing"

	"milterd/milter"
)

// TestConnectionsOf tests the limit of connections for a limit of open files.
func TestConnectionsOf(t *testing.T) {
	t.Parallel()
	for files, want := range map[int]int{
		1 << 20:        931_172,
		10_000:         7_993,
		2 * spareFiles: 882,
		1024:           448,
		16:             1,
	} {
		got := connectionsOf(files)
		left := files - milter.MaxOpen(got)
		if got != want || got > 1 && left < min(spareFiles, files/2) {
			t.Errorf("%d files: %d connections, want %d; %d files left", files, got, want, left)
		}
	}
}
