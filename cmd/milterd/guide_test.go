package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"milterd/checks"
)

// TestCheckOfTheGuide adds the check of the guide "check" to milterd in an overlay: a folder, and a word in the registry. It runs
// the tests of the registry and of the check. With MILTERD_TEST_REAL=1 it also builds milterd, and tests that the reference, the
// reasons and simulate have the check: that compiles a quarter of the program again.
func TestCheckOfTheGuide(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay := overlayCheck(t, root, dir)

	real := os.Getenv("MILTERD_TEST_REAL") == "1"
	golang := func(args ...string) string {
		cmd := exec.Command("go", args...)
		cmd.Dir = root
		if real {
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // compiles the packages that make build compiles
		}
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState.ExitCode() < 0 {
			t.Fatal(err)
		}
		return string(out)
	}
	// One command for both, without what a debugger needs, takes the least time. go test cannot run tests in a folder that is not on
	// the disk.
	if out := golang("test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", dir, "./checks/all", "./checks/nameserver"); out != "" {
		t.Fatal(out)
	}
	for _, tests := range []struct{ name, dir, run string }{
		{"all", filepath.Join(root, "checks/all"), "Test[^F]"}, // TestFolders reads the disk, which the overlay does not change
		{"nameserver", dir, ""},
	} {
		cmd := exec.Command(filepath.Join(dir, tests.name+".test"), "-test.run", tests.run)
		cmd.Dir = tests.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("tests of the package %s: %v: %s", tests.name, err, out)
		}
	}

	if !real {
		return
	}
	if out := golang("build", "-overlay", overlay, "-o", dir+"/milterd", "./cmd/milterd"); out != "" {
		t.Fatal(out)
	}
	testProgramOfTheGuide(t, dir+"/milterd", dir+"/sender-nameserver.session")
}

// TestReasonFieldsOfTheGuide tests that the guide "check" has all fields of a reason.
func TestReasonFieldsOfTheGuide(t *testing.T) {
	t.Parallel()
	guide := readFile(t, "doc/check.md")
	for f := range reflect.TypeFor[checks.Reason]().Fields() {
		if !strings.Contains(guide, "`"+f.Name+"`") && f.Name != "ID" {
			t.Errorf("no word about %s", f.Name)
		}
	}
}

// testProgramOfTheGuide tests the output of milterd with the check.
func testProgramOfTheGuide(t *testing.T, bin, session string) {
	t.Helper()
	milterd := func(args ...string) string {
		out, _ := exec.Command(bin, args...).CombinedOutput()
		return string(out)
	}
	if out := milterd("doc", "config"); !strings.Contains(out, "nameserver:\n    # Name servers whose domains are refused, as lower-case host names.\n    # Example: refused: [ns.spammer.example]\n    refused: []") {
		t.Errorf("doc config does not have the check: %.500s", out)
	}
	if out := milterd("doc", "reasons"); !strings.Contains(out, "| nameserver | `sender-nameserver` | watch | reject | 550 5.7.1 |") {
		t.Errorf("doc reasons does not have the reason: %.500s", out)
	}
	if out := milterd("simulate", session); strings.Contains(out, "want the reply") || !strings.Contains(out, "sender-nameserver (reject)") {
		t.Errorf("simulate: %s", out)
	}
}

// overlayCheck writes the check of the guide to dir, and an overlay that adds it to the module at root.
func overlayCheck(t *testing.T, root, dir string) (file string) {
	t.Helper()
	guide := readFile(t, "doc/check.md")
	part := func(pattern string) string {
		found := regexp.MustCompile("(?s)" + pattern).FindStringSubmatch(guide)
		if found == nil {
			t.Fatalf("the guide has no %s", pattern)
		}
		return found[1]
	}
	writeFile(t, dir+"/nameserver.go", part("```go\n(// Package nameserver .*?)```"))
	writeFile(t, dir+"/nameserver_test.go", part("```go\n(package nameserver\n.*?)```"))
	writeFile(t, dir+"/sender-nameserver.session", part("```session\n(.*?)```"))
	registry := readFile(t, root+"/checks/all/all.go")
	registry = strings.Replace(registry, "msgfields.Info", "msgfields.Info, nameserver.Info", 1)
	registry = strings.Replace(registry, "\t\"milterd/checks/mxplus\"\n", "\t\"milterd/checks/mxplus\"\n\t\"milterd/checks/nameserver\"\n", 1)
	writeFile(t, dir+"/all.go", registry)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		root + "/checks/nameserver/nameserver.go":      dir + "/nameserver.go",
		root + "/checks/nameserver/nameserver_test.go": dir + "/nameserver_test.go",
		root + "/checks/all/all.go":                    dir + "/all.go",
	}})
	if err != nil {
		t.Fatal(err)
	}
	file = dir + "/overlay.json"
	writeFile(t, file, string(overlay))
	return file
}
