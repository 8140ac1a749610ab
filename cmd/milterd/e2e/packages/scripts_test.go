package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"milterd/milter/miltertest"
)

// script returns a command that runs a script of the folder of packages in the root of the module.
func script(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	root, err := miltertest.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", append([]string{filepath.Join("cmd/milterd/package", name)}, args...)...)
	cmd.Dir = root
	return cmd
}

// TestPurgeOfAUsedAccount tests that a purge succeeds while a process of the account runs, and says what stays.
func TestPurgeOfAUsedAccount(t *testing.T) {
	t.Parallel()
	programs := t.TempDir() // the script finds no others, so it removes nothing
	for name, code := range map[string]string{"getent": "0", "userdel": "8", "rm": "0", "systemctl": "0", "deb-systemd-helper": "0"} {
		miltertest.WriteProgram(t, filepath.Join(programs, name), []byte("#!/bin/sh\nexit "+code+"\n"))
	}
	cmd := script(t, "deb.postrm", "purge")
	cmd.Env = []string{"PATH=" + programs}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "userdel milterd") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestBuildWithoutACommit tests that sources without a commit, such as an archive of them, need a time.
func TestBuildWithoutACommit(t *testing.T) {
	t.Parallel()
	cmd := script(t, "build", version, t.TempDir())
	cmd.Env = append(os.Environ(), "GIT_DIR=/nonexistent", "SOURCE_DATE_EPOCH=", "GO=false")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "set SOURCE_DATE_EPOCH") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestSourcesOfPackages tests that every file of the .deb and .rpm comes from the folder in which build sets the permissions: a file
// of the sources may be readable by its owner alone.
func TestSourcesOfPackages(t *testing.T) {
	t.Parallel()
	root, err := miltertest.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "cmd/milterd/package/nfpm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Contents []struct {
			Src, Dst string
			Expand   bool
		}
	}
	if err := yaml.Unmarshal(text, &config); err != nil || len(config.Contents) == 0 {
		t.Fatalf("%d files, %v", len(config.Contents), err)
	}
	for _, f := range config.Contents {
		if f.Src != "" && (!strings.HasPrefix(f.Src, "${WORK}/") || !f.Expand) {
			t.Errorf("%s comes from %q", f.Dst, f.Src)
		}
	}
}
