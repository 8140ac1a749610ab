//go:build !race

package main_test

// raceEnabled tells whether the tests run with the race detector.
const raceEnabled = false
