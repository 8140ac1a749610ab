//go:build !race

package daemontest

// raceEnabled reports whether the tests run with the race detector.
const raceEnabled = false
