package main

import (
	"math"
	"runtime/debug"
	"testing"
)

// TestSpareHeapNeedsRoom tests that a low GOMEMLIMIT, which the runtime has set by now, leaves no room for spareHeap: the collector would
// never rest.
func TestSpareHeapNeedsRoom(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before); spareHeap = nil })
	for limit, want := range map[int64]int{100 << 20: 0, 256 << 20: spareHeapSize, math.MaxInt64: spareHeapSize} {
		spareHeap = nil
		debug.SetMemoryLimit(limit)
		tuneHeap(0)
		if len(spareHeap) != want {
			t.Errorf("with a limit of %d bytes: %d bytes are reserved, want %d", limit, len(spareHeap), want)
		}
	}
}
