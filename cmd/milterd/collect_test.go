package main

import (
	"fmt"
	"testing"
)

func TestGarbageIsBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		live uint64 // MiB
		want int
	}{{0, 400}, {10, 400}, {24, 400}, {48, 200}, {64, 150}, {96, 100}, {1000, 100}} {
		t.Run(fmt.Sprint(c.live), func(t *testing.T) {
			if got := percentFor(c.live << 20); got != c.want {
				t.Errorf("%d %%, want %d", got, c.want)
			}
		})
	}
}
