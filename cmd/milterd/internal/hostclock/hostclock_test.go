package hostclock

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	if os.Getenv("MILTERD_TEST_REAL") != "1" {
		t.Skip("compiles the standard library: run `make test`, or set MILTERD_TEST_REAL=1")
	}
	t.Parallel()
	dir := t.TempDir()
	overlay, err := Overlay(dir)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "show")
	if out, err := exec.Command("go", "build", "-trimpath", "-overlay", overlay, "-o", program, "./testdata/show").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	file := filepath.Join(dir, "clock")
	clock, err := New(file)
	if err != nil {
		t.Fatal(err)
	}
	defer clock.Close()
	ask := show(t, program, file)
	for _, c := range []struct {
		name          string
		change        func()
		ahead, passed time.Duration // of the clock of the machine; since the start
	}{
		{name: "not moved", change: func() {}},
		{name: "set", change: func() { clock.Set(-3 * time.Hour) }, ahead: -3 * time.Hour},
		{name: "an hour passes", change: func() { clock.Pass(time.Hour) }, ahead: -2 * time.Hour, passed: time.Hour},
		{name: "another hour passes", change: func() { clock.Pass(time.Hour) }, ahead: -time.Hour, passed: 2 * time.Hour},
		{name: "set back", change: func() { clock.Set(0) }, ahead: 2 * time.Hour, passed: 2 * time.Hour},
	} {
		c.change()
		at, since, now := ask()
		if got := time.Until(at); (got - c.ahead).Abs() > time.Minute {
			t.Errorf("%s: the clock is ahead by %v, want %v", c.name, got, c.ahead)
		}
		if (since-c.passed).Abs() > time.Minute || (now-c.passed).Abs() > time.Minute {
			t.Errorf("%s: %v (Since) and %v (Now) have passed, want %v", c.name, since, now, c.passed)
		}
	}
}

// show starts the program of testdata/show with a clock. The function that it returns asks what the program sees.
func show(t *testing.T, program, file string) (ask func() (at time.Time, since, now time.Duration)) {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), Variable+"="+file)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return func() (time.Time, time.Duration, time.Duration) {
		var at, since, now int64
		if _, err := io.WriteString(in, "?"); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscan(out, &at, &since, &now); err != nil {
			t.Fatal(err)
		}
		return time.Unix(at, 0), time.Duration(since) * time.Second, time.Duration(now) * time.Second
	}
}
