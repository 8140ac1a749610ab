// Package hostclock builds programs whose clock another process can move, for tests and for measurements.
//
// Linux has no real-time clock for a process, and a test must not set the clock of the machine. So Overlay changes package time:
// time.Now, Since and Until add offsets that a Clock sets. The program and all its libraries see a clock that was set, or time
// that has passed. Timers go on as before: a time limit that was set before time has passed does not end earlier.
//
// Every package has to be compiled again for this, which takes some minutes; then it is in the build cache.
package hostclock

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// moved is a file of package time.
//
//go:embed testdata/moved.go
var moved []byte

// changes are made in the file time.go of package time.
var changes = []struct {
	old, new string
	times    int
}{
	{old: "sec, nsec, mono := runtimeNow()", new: "sec, nsec, mono := movedNow()", times: 1},
	{old: "runtimeNano()-startNano", new: "movedNano()-startNano", times: 2},
}

// Overlay writes the changed package time to a folder, and returns the file for the flag -overlay of the go command.
func Overlay(dir string) (file string, err error) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "time").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go list: %w\n%s", err, out)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "time.go")
	raw, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	text := string(raw)
	for _, c := range changes {
		if n := strings.Count(text, c.old); n != c.times {
			return "", fmt.Errorf("%s has %q %d times, want %d: this version of Go reads the clock in another way", source, c.old, n, c.times)
		}
		text = strings.ReplaceAll(text, c.old, c.new)
	}
	changed, added := filepath.Join(dir, "time.go"), filepath.Join(dir, "moved.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		source: changed, filepath.Join(filepath.Dir(source), "moved.go"): added,
	}})
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, "overlay.json")
	for name, content := range map[string][]byte{changed: []byte(text), added: moved, file: overlay} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return "", err
		}
	}
	return file, nil
}

// Variable is the environment variable in which a program finds the file of its Clock.
const Variable = "MILTERD_TEST_CLOCK"

// Clock is the clock of all programs that were started with its file. Its methods are safe for concurrent use.
type Clock struct {
	page           []byte // of the file, which the programs map too
	clock, elapsed *int64 // offsets in the page, in seconds
}

// New returns a clock without offsets. It creates the file through which the programs see it.
func New(file string) (*Clock, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const size = 2 * int(unsafe.Sizeof(int64(0)))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	page, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	words := (*[2]int64)(unsafe.Pointer(&page[0]))
	return &Clock{page: page, clock: &words[0], elapsed: &words[1]}, nil
}

// Close releases the clock. No other method may be called after it.
func (c *Clock) Close() error { return unix.Munmap(c.page) }

// Set sets the real-time clock to an offset from that of the machine, as an operator sets it: no time passes. It is rounded down
// to a second.
func (c *Clock) Set(offset time.Duration) { atomic.StoreInt64(c.clock, int64(offset/time.Second)) }

// Pass lets time pass, in whole seconds.
func (c *Clock) Pass(d time.Duration) { atomic.AddInt64(c.elapsed, int64(d/time.Second)) }
