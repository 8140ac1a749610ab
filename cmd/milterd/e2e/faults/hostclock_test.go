package faults

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

// Linux has no real-time clock per process, and a test must not set the clock of the machine. So the soak builds milterd with
// a package time whose Now adds an offset that the test sets. The program and all libraries see the clock jump, while
// monotonic readings go on, as when a real clock is set. Every package has to be compiled again for this, which takes some
// minutes; then it is in the build cache, also for a clone in another folder.

// buildWithClock builds milterd with a clock that a test can move.
var buildWithClock = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "milterd-clock-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := clockOverlay(dir)
	if err != nil {
		return "", err
	}
	return daemontest.Build("-trimpath", "-overlay", overlay)
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

// hostClock is the clock that a daemon reads.
type hostClock struct {
	file   string
	offset *int64 // seconds, in a page of the file that the daemon maps too
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

// move sets the offset of the clock.
func (c hostClock) move(offset time.Duration) { atomic.StoreInt64(c.offset, int64(offset/time.Second)) }

// env returns the environment of a daemon with this clock.
func (c hostClock) env() []string { return append(os.Environ(), "MILTERD_TEST_CLOCK="+c.file) }

// clockOffsets are the offsets of the clock in a soak.
var clockOffsets = []time.Duration{
	3 * time.Hour, -3 * time.Hour, 40 * 24 * time.Hour, -40 * 24 * time.Hour, 3653 * 24 * time.Hour, -3653 * 24 * time.Hour,
}

// clockFaults are jumps of the clock, each there and back.
func clockFaults() []fault {
	var all []fault
	for _, offset := range clockOffsets {
		all = append(all, fault{
			name: fmt.Sprintf("a clock that is off by %+.0f h", offset.Hours()),
			begin: func(_ *testing.T, s *soak) func() {
				s.clock.move(offset)
				return func() { s.clock.move(0) }
			},
			effective: func(t *testing.T, s *soak) bool { return (s.clockOffset(t) - offset).Abs() < time.Minute },
		})
	}
	return append(all, fault{name: "a clock that jumps all the time", begin: jumpingClock})
}

// jumpingClock moves the clock every few milliseconds, also during sessions.
func jumpingClock(_ *testing.T, s *soak) (end func()) {
	stop := repeat(func(i int) {
		s.clock.move(clockOffsets[i%len(clockOffsets)])
		<-time.After(3 * time.Millisecond)
	})
	return func() { stop(); s.clock.move(0) }
}

// clockOffset returns the offset of the clock that the daemon reads, from the Date of an HTTP response.
func (s *soak) clockOffset(t *testing.T) time.Duration {
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
