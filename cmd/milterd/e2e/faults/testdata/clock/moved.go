package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// This file is added to package time when milterd is built for the soak. Now calls movedNow in place of runtimeNow.

// moved is the offset of the clock in seconds. It is in a page of a file that the test writes.
var moved = mapMoved()

func mapMoved() *int64 {
	name, ok := syscall.Getenv("MILTERD_TEST_CLOCK")
	if !ok {
		return new(int64)
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	defer syscall.Close(fd)
	page, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return (*int64)(unsafe.Pointer(&page[0]))
}

// movedNow is runtimeNow with the offset added to the real-time clock. The monotonic clock, which deadlines, timers and
// differences of times use, is not moved.
func movedNow() (sec int64, nsec int32, mono int64) {
	sec, nsec, mono = runtimeNow()
	return sec + atomic.LoadInt64(moved), nsec, mono
}
