package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestVersionOfBuild(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ made, recorded, want string }{
		"make build":                   {"v0.1.0", "(devel)", "v0.1.0"},
		"make build with a dirty tree": {"fe3dd89-dirty", "(devel)", "fe3dd89-dirty"},
		"go install of a tag":          {"", "v0.1.0", "v0.1.0"},
		"go build in a checkout":       {"", "v0.0.0-20261129063000-fe3dd89a1b2c", "v0.0.0-20261129063000-fe3dd89a1b2c"},
		"build without git":            {"", "(devel)", "unknown (built without git)"},
		"go build of a module's copy":  {"", "", "unknown (built without git)"},
	} {
		if got := versionOf(c.made, c.recorded); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestVersionFlagAndCommand(t *testing.T) {
	t.Parallel()
	var outputs []string
	for _, word := range []string{"version", "--version"} {
		outputs = append(outputs, printed(t, word))
	}
	if outputs[0] != outputs[1] || !strings.HasPrefix(outputs[0], "milterd ") || strings.Contains(outputs[0], "(devel)") {
		t.Errorf("got %q", outputs)
	}
}

// TestMakeBuildSaysItsCommit builds the program as an operator does.
func TestMakeBuildSaysItsCommit(t *testing.T) {
	t.Parallel()
	requirePrograms(t, "make", "git")
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	output := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	bin := filepath.Join(t.TempDir(), "milterd")
	output("make", "build", "BIN="+bin)
	want := "milterd " + output("git", "describe", "--tags", "--always", "--dirty") + " go"
	if got := output(bin, "--version"); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
