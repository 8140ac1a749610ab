package packages

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// network is a network that has only loopback, so that the fixed ports of the packages are free.
type network int

// newNetwork makes a network and moves the goroutine of the test into it, with all programs and sockets that it opens
// from now on. Its thread ends with the test.
func newNetwork(t *testing.T) network {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("a private network needs root: %v", err)
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, loopback); err != nil {
		t.Fatal(err)
	}
	return network(fd)
}

// enter moves another goroutine into the network until its end.
func (n network) enter() error {
	runtime.LockOSThread()
	return unix.Setns(int(n), unix.CLONE_NEWNET)
}
