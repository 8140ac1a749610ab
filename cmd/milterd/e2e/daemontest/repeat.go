package daemontest

import (
	"sync"
	"sync/atomic"
	"testing"
)

// Repeat calls f with 0, 1 and so on, from several goroutines, until the end of the test or until stop is called. stop waits for
// the goroutines. It may be called more than once.
func Repeat(t testing.TB, goroutines int, f func(i int)) (stop func()) {
	done := make(chan struct{})
	var next atomic.Int64
	var running sync.WaitGroup
	for range goroutines {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					f(int(next.Add(1)) - 1)
				}
			}
		})
	}
	stop = sync.OnceFunc(func() { close(done); running.Wait() })
	t.Cleanup(stop)
	return stop
}
