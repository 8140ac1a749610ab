package daemontest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Result is the result of a command.
type Result struct {
	Stdout, Stderr string
	Code           int // exit status
}

// Command runs a command of milterd.
func Command(t testing.TB, words ...string) Result {
	t.Helper()
	return CommandAs(t, Binary(t), nil, words...)
}

// CommandAs runs a program as another user, if the credential is not nil.
func CommandAs(t testing.TB, program string, as *syscall.Credential, words ...string) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(program, words...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = CommandEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
}

// CommandEnv returns the environment of commands. A program with the race detector sleeps for a second before it exits,
// unless GORACE says otherwise.
func CommandEnv() []string { return append(os.Environ(), "GORACE=atexit_sleep_ms=0") }

// Command runs a command of milterd with the daemon's configuration.
func (d *Daemon) Command(t testing.TB, words ...string) Result {
	t.Helper()
	return Command(t, append([]string{"-c", d.File}, words...)...)
}

// MustRun is Command for a command that must succeed without a message on standard error. It returns standard output.
func (d *Daemon) MustRun(t testing.TB, words ...string) string {
	t.Helper()
	r := d.Command(t, words...)
	if r.Code != 0 || r.Stderr != "" {
		t.Fatalf("milterd %v: exit %d, %q", words, r.Code, r.Stderr)
	}
	return r.Stdout
}

// DecodeJSON runs a command with --json and decodes its output.
func DecodeJSON[T any](t testing.TB, d *Daemon, words ...string) (value T) {
	t.Helper()
	out := d.MustRun(t, append(words, "--json")...)
	if strings.Contains(out, ":null") || strings.Contains(out, "[null") {
		t.Errorf("milterd %v: %s: want [] rather than null", words, out)
	}
	if err := json.Unmarshal([]byte(out), &value); err != nil {
		t.Fatalf("milterd %v: %v\n%s", words, err, out)
	}
	return value
}

// The JSON output of commands, as a program that reads it would declare it.
type (
	Triplet struct {
		Identity  string    `json:"identity"`
		From      string    `json:"from"`
		To        string    `json:"to"`
		Client    string    `json:"client"`
		Suspicion string    `json:"suspicion"`
		State     string    `json:"state"`
		Attempts  int       `json:"attempts"`
		First     time.Time `json:"first"`
		Last      time.Time `json:"last"`
		Back      time.Time `json:"back"`
		Passed    time.Time `json:"passed"`
		Until     time.Time `json:"until"`
	}
	GreylistClient struct {
		Identity string    `json:"identity"`
		Passes   int       `json:"passes"`
		Counted  time.Time `json:"counted"`
		Used     time.Time `json:"used"`
		Client   string    `json:"client"`
		Allowed  bool      `json:"allowed"`
	}
	GreylistSelection struct {
		Triplets []Triplet        `json:"triplets"`
		Clients  []GreylistClient `json:"clients"`
	}
	BlockedClient struct {
		Client  netip.Prefix `json:"client"`
		Since   time.Time    `json:"since"`
		Until   time.Time    `json:"until"`
		Level   int          `json:"level"`
		Why     string       `json:"why"`
		InForce bool         `json:"in_force"`
	}
)

// WantRow fails the test unless a line of a table has all the words, in this order.
func WantRow(t testing.TB, table string, words ...string) {
	t.Helper()
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		for _, w := range words {
			i := slices.Index(fields, w)
			if i < 0 {
				fields = nil
				break
			}
			fields = fields[i+1:]
		}
		if fields != nil {
			return
		}
	}
	t.Errorf("no line with %q in\n%s", words, table)
}
