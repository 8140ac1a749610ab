package daemontest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"milterd/milter/miltertest"
)

// Binary returns the path of milterd, which it builds once. It has the race detector if the tests have it.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() (string, error) { return Build() })

// Build builds milterd with further flags and returns the path of the program, which is in the build cache of the go
// command. The cache keeps the programs that go run links, so all test packages together link this one once. It has the race
// detector if the tests have it.
func Build(flags ...string) (string, error) {
	return goRun(os.Environ(), append(flags, fmt.Sprintf("-race=%v", raceEnabled))...)
}

// BuildWithoutRace is Build without the race detector. If the tests have it, as in make test, the program is also without cgo, as make
// build builds it.
func BuildWithoutRace(flags ...string) (string, error) {
	env := os.Environ()
	if raceEnabled {
		env = append(env, "CGO_ENABLED=0")
	}
	return goRun(env, append(flags, "-race=false")...)
}

// goRun returns the path of the program that go run links with these flags.
func goRun(env []string, flags ...string) (string, error) {
	// Linking takes less time without debug information.
	args := slices.Concat([]string{"run", "-exec", "echo", "-ldflags=-s"}, flags, []string{"milterd/cmd/milterd"})
	root, err := miltertest.ModuleRoot()
	if err != nil {
		return "", err
	}
	if err := openSources(root); err != nil {
		return "", err
	}
	unlock, err := lockBuild(root)
	if err != nil {
		return "", err
	}
	defer unlock()
	var path string
	for range 2 { // a program that go run has just linked is still in a temporary folder
		cmd := exec.Command("go", args...)
		cmd.Env = env
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("%v: %w\n%s", cmd.Args, err, stderr.String())
		}
		path = strings.TrimSpace(string(out))
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("the build cache does not have %s", path)
}

// lockBuild waits until no other test process builds milterd. Without it, packages that start at the same time would all
// link it.
func lockBuild(root string) (unlock func(), err error) {
	dir, err := os.Open(filepath.Join(root, "cmd/milterd"))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		_ = dir.Close()
		return nil, fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	return func() { _ = dir.Close() }, nil
}

// openSources opens every folder with sources of milterd. The go command caches the result of a test until its package or
// a file or folder that it opened changes. It cannot know that the tests run another program.
func openSources(root string) error {
	for _, top := range []string{"checks", "cmd", "headers", "milter"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
