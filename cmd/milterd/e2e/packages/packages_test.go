// Package packages tests what "make packages" builds: that the packages are the same each time, and that they can be
// installed, run behind a Postfix, upgraded under load, downgraded and removed.
//
// A .deb is installed in a container that this package makes: a copy of the running system, in which systemd is started.
package packages

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"milterd/milter/miltertest"
)

// Versions of the packages. Both are built from the same sources.
const (
	version     = "0.1.0"
	nextVersion = "0.1.1"
)

// required are the programs of the tests, each with its package.
var required = map[string]string{
	"make": "make", "git": "git", "lintian": "lintian", "rpm2cpio": "rpm", "rpm": "rpm", "cpio": "cpio", "umoci": "umoci",
	"skopeo": "skopeo", "systemctl": "systemd", "systemd-analyze": "systemd", "dpkg": "dpkg", "nsenter": "util-linux",
}

// require skips the test unless MILTERD_TEST_REAL=1 is set. Then a missing program is a failure.
func require(t *testing.T) {
	t.Helper()
	miltertest.Require(t)
	for program, pkg := range required {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("no %s (package %s): run .ci/install", program, pkg)
		}
	}
}

// TestMain removes the packages at the end.
func TestMain(m *testing.M) {
	code := m.Run()
	if builds.dir != "" {
		_ = os.RemoveAll(builds.dir)
	}
	os.Exit(code)
}

// builds are the packages that were built, one build at a time.
var builds struct {
	sync.Mutex
	dir   string
	done  map[string]error
	epoch string // seconds since 1970, which the first build takes by itself
}

// build runs "make packages" once for each version and name, and returns the folder of the packages.
func build(t *testing.T, version, name string, vars ...string) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "milterd-packages-")
		if err != nil {
			t.Fatal(err)
		}
		builds.dir, builds.done = dir, map[string]error{}
		builds.epoch = strings.TrimSpace(output(t, "git", "log", "-1", "--format=%ct"))
	} else {
		vars = append(vars, "SOURCE_DATE_EPOCH="+builds.epoch) // there may have been a commit since the first build
	}
	dir := filepath.Join(builds.dir, name)
	err, done := builds.done[name]
	if !done {
		err = makePackages(append(vars, "VERSION="+version, "DIST="+dir)...)
		builds.done[name] = err
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func makePackages(vars ...string) error {
	root, err := miltertest.ModuleRoot()
	if err != nil {
		return err
	}
	cmd := exec.Command("make", append([]string{"--no-print-directory", "-C", root, "packages"}, vars...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}

// dist returns the folder of the packages of all architectures.
func dist(t *testing.T) string {
	t.Helper()
	return build(t, version, "all")
}

// file returns the path of a package for this machine: the one file of the folder that ends in the suffix, of those whose
// name has the architecture.
func file(t *testing.T, dir, suffix string) string {
	t.Helper()
	arch := runtime.GOARCH
	if suffix == ".rpm" {
		arch = cmp.Or(map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch], arch)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*"+arch+suffix))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q in %s: %v", found, dir, err)
	}
	return found[0]
}

// output runs a program, which must succeed, and returns what it prints.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	return finish(t, exec.Command(name, args...))
}

// finish runs a command, which must succeed, and returns what it prints.
func finish(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// TestReproducible builds the packages for this machine twice. The first build has those for other machines too.
func TestReproducible(t *testing.T) {
	require(t)
	t.Parallel()
	first, second := dist(t), build(t, version, "again", "ARCHS="+runtime.GOARCH)
	output(t, "sh", "-c", `cd "$1" && sha256sum --check --quiet SHA256SUMS`, "sh", first)
	again, err := os.ReadDir(second)
	if err != nil {
		t.Fatal(err)
	}
	const formats = 5
	if len(again) != formats+1 {
		t.Fatalf("%d files, want %d packages and SHA256SUMS", len(again), formats)
	}
	for _, f := range again {
		if f.Name() != "SHA256SUMS" {
			output(t, "cmp", filepath.Join(first, f.Name()), filepath.Join(second, f.Name()))
		}
	}
	all, err := os.ReadDir(first)
	if err != nil || len(all) != 2*formats+1 {
		t.Errorf("%d files for all architectures, want %d: %v", len(all), 2*formats+1, err)
	}
	for _, f := range all {
		if info, err := f.Info(); err == nil {
			t.Logf("%10d %s", info.Size(), f.Name())
		}
	}
}

// TestVersion tests which versions packages get from tags and commits.
func TestVersion(t *testing.T) {
	t.Parallel()
	root, err := miltertest.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	const nextCommit = `^\d+\.\d+\.\d+-git\.1b93c79`
	for text, want := range map[string]string{
		"0.1.0": `^0\.1\.0$`, "v1.20.3": `^1\.20\.3$`, "v0.2.0-rc.1": `^0\.2\.0-rc\.1$`,
		"1b93c79": nextCommit + `$`, "v0.1.0-5-g1b93c79": nextCommit + `$`, "1b93c79-dirty": nextCommit + `\.dirty$`,
		"": "is neither", "latest": "is neither", "0.1": "is neither",
	} {
		cmd := exec.Command("cmd/milterd/package/version", text)
		cmd.Dir = root
		out, _ := cmd.CombinedOutput()
		if !regexp.MustCompile(want).Match(bytes.TrimSpace(out)) {
			t.Errorf("%q: %q, want %q", text, out, want)
		}
	}
}
