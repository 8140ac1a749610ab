package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// No process has a real-time clock of its own, and that of the machine is not ours to move. So the soak builds the program with a
// package time whose Now is off by what a test says. The program and all its libraries see the clock jump and none of them has a hook
// for it, and the monotonic readings go on, as they do when a real clock is set. What imports package time has to be compiled for
// this once, which takes a minute or two; then Go's build cache has it.

// buildMovable builds milterd with a clock that a test can move.
var buildMovable = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "milterd-clock-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := clockOverlay(dir)
	if err != nil {
		return "", err
	}
	return daemontest.Build("-overlay", overlay)
})

// clockOverlay writes an overlay of package time to a folder, for the flag -overlay of the go command.
func clockOverlay(dir string) (file string, err error) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "time").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go list: %w\n%s", err, out)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	const reads, moved = "sec, nsec, mono := runtimeNow()", "sec, nsec, mono := movedNow()"
	if n := strings.Count(string(text), reads); n != 1 {
		return "", fmt.Errorf("%s has %q %d times, want once: this version of Go reads the clock in another way", source, reads, n)
	}
	changed := filepath.Join(dir, "time.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), reads, moved, 1)), 0o644); err != nil {
		return "", err
	}
	added, err := filepath.Abs("testdata/clock/moved.go")
	if err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		source: changed, filepath.Join(filepath.Dir(source), "moved.go"): added,
	}})
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, overlay, 0o644)
}

// hostClock is the clock of the host as a daemon sees it.
type hostClock struct {
	file  string
	moved *int64 // seconds, in a page that the daemon has mapped too
}

func newHostClock(t *testing.T, file string) hostClock {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(8); err != nil {
		t.Fatal(err)
	}
	page, err := unix.Mmap(int(f.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(page) })
	return hostClock{file, (*int64)(unsafe.Pointer(&page[0]))}
}

// move lets the clock be off by so much from now on.
func (c hostClock) move(off time.Duration) { atomic.StoreInt64(c.moved, int64(off/time.Second)) }

// env tells the daemon where its clock is.
func (c hostClock) env() []string { return append(os.Environ(), "MILTERD_TEST_CLOCK="+c.file) }

// clockJumps are how far the clock of a soak jumps.
var clockJumps = []time.Duration{
	3 * time.Hour, -3 * time.Hour, 40 * 24 * time.Hour, -40 * 24 * time.Hour, 3653 * 24 * time.Hour, -3653 * 24 * time.Hour,
}

// jumps are those of the clock, there and back.
func jumps() []fault {
	var all []fault
	for _, off := range clockJumps {
		all = append(all, fault{fmt.Sprintf("a clock that is off by %+.0f h", off.Hours()), func(_ *testing.T, s *soak) func() {
			s.clock.move(off)
			return func() { s.clock.move(0) }
		}, func(t *testing.T, s *soak) bool { return (s.reads(t) - off).Abs() < time.Minute }})
	}
	return append(all, fault{"a clock that never rests", restless, nil})
}

// restless lets the clock jump again and again, in the middle of sessions.
func restless(_ *testing.T, s *soak) (off func()) {
	stop := again(func(i int) {
		s.clock.move(clockJumps[i%len(clockJumps)])
		<-time.After(3 * time.Millisecond)
	})
	return func() { stop(); s.clock.move(0) }
}

// reads is how far the clock is off that the daemon reads.
func (s *soak) reads(t *testing.T) time.Duration {
	t.Helper()
	client := http.Client{Timeout: miltertest.WaitTimeout}
	resp, err := client.Head(s.admin + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		t.Fatal(err)
	}
	return time.Until(date)
}
