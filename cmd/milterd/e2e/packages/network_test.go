package packages

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// network is a network that has only loopback, so that the fixed ports of the packages are free.
type network int

// newNetwork makes a network and moves the goroutine of the test into it, with all programs and sockets that it opens
// from now on.
func newNetwork(t *testing.T) network {
	t.Helper()
	leave, err := lockThread()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(leave)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("a private network needs root: %v", err)
	}
	fd, err := currentNetwork()
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

// enter moves another goroutine into the network, until it calls leave.
func (n network) enter() (leave func(), err error) {
	leave, err = lockThread()
	if err != nil {
		return nil, err
	}
	if err := unix.Setns(int(n), unix.CLONE_NEWNET); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// lockThread wires the goroutine to its thread. leave moves the thread back into the network in which it is now, and releases it. The
// thread must not end instead: a program with Pdeathsig is killed when the thread that started it ends, and another test may have
// started one before.
func lockThread() (leave func(), err error) {
	runtime.LockOSThread()
	before, err := currentNetwork()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	return func() {
		defer unix.Close(before)
		if unix.Setns(before, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}, nil
}

// currentNetwork opens the network of the thread.
func currentNetwork() (fd int, err error) {
	return unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}
