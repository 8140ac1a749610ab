package main

import (
	"context"
	"io"
	"path/filepath"
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

// TestFirstConfigInterrupted tests that a start that is interrupted while the configuration is read has none. The race detector must not
// complain of the goroutine that goes on to read.
func TestFirstConfigInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	for range 20 {
		if cfg, _ := firstConfig(ctx, missing, io.Discard); cfg != nil {
			t.Fatalf("interrupted: %+v", cfg)
		}
	}
	if cfg, err := firstConfig(t.Context(), missing, io.Discard); cfg != nil || err == nil {
		t.Errorf("a file that is missing: %v, %v", cfg, err)
	}
}
