package checktest

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// rusageThread is RUSAGE_THREAD of getrusage(2) on Linux, which package syscall lacks.
const rusageThread = 1

// CPUTime returns the processor time that f takes in its goroutine. Other goroutines and programs do not change it.
func CPUTime(t testing.TB, f func()) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() time.Duration {
		var r syscall.Rusage
		if err := syscall.Getrusage(rusageThread, &r); err != nil {
			t.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	began := used()
	f()
	return used() - began
}
