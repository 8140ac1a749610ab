package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// The program of the soak is built with this file in package time, whose Now then calls movedNow for runtimeNow.

// moved is how far the clock of the host is off, in seconds: the page of a file that the test writes to.
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

// movedNow reads the clocks as runtimeNow does. Only that of the host moves: deadlines, timers and what lies between two readings
// go by the monotonic one, which no jump changes.
func movedNow() (sec int64, nsec int32, mono int64) {
	sec, nsec, mono = runtimeNow()
	return sec + atomic.LoadInt64(moved), nsec, mono
}
