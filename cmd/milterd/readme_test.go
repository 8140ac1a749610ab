package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/resolver/dnstest"
)

// TestReadmeSimulation runs the first example of the README with a DNS that has no names.
func TestReadmeSimulation(t *testing.T) {
	t.Parallel()
	example := regexp.MustCompile("(?s)```\n\\$ milterd (simulate [^\n]*)\n(.*?)```").FindStringSubmatch(readFile(t, "../../README.md"))
	if example == nil {
		t.Fatal("the README has no example")
	}
	file := filepath.Join(t.TempDir(), "milterd.yaml")
	writeFile(t, file, fmt.Sprintf("dns: {servers: [%q]}\n", dnstest.Start(t, "nobody.test. A 192.0.2.1\n").Addr))
	var out strings.Builder
	run(t.Context(), append(strings.Fields(example[1]), "-c", file), &out, io.Discard)
	took := regexp.MustCompile(`\[[0-9.]+ ms\]`)
	if got, want := took.ReplaceAllString(out.String(), "[]"), took.ReplaceAllString(example[2], "[]"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestReadmeCheck adds the check of the README to milterd in an overlay: a folder, and a word in the registry. It runs the
// tests of the registry and of the check, and tests that the reference and simulate have the check.
func TestReadmeCheck(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay := overlayCheck(t, root, dir)

	golang := func(args ...string) string {
		cmd := exec.Command("go", args...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState.ExitCode() < 0 {
			t.Fatal(err)
		}
		return string(out)
	}
	out := golang("test", "-vet=off", "-overlay", overlay, "-run", "Test[^F]", "./checks/all") // TestFolders reads the disk, which the overlay does not change
	if !strings.HasPrefix(out, "ok") {
		t.Errorf("tests of the registry: %s", out)
	}
	// go test cannot run tests in a folder that is not on the disk.
	if out := golang("test", "-c", "-vet=off", "-overlay", overlay, "-o", dir+"/shout.test", "./checks/shout"); out != "" {
		t.Fatal(out)
	}
	own := exec.Command(dir + "/shout.test")
	own.Dir = dir
	if out, err := own.CombinedOutput(); err != nil {
		t.Errorf("tests of the check: %v: %s", err, out)
	}

	bin, err := daemontest.Build("-overlay", overlay)
	if err != nil {
		t.Fatal(err)
	}
	milterd := func(args ...string) string {
		out, _ := exec.Command(bin, args...).CombinedOutput()
		return string(out)
	}
	if out := milterd("doc", "config"); !strings.Contains(out, "shout:\n    # How many capital letters a subject may have.\n    letters: 20") {
		t.Errorf("doc config does not have the check: %s", out)
	}
	if out := milterd("doc", "reasons"); !strings.Contains(out, "| shout | `subject-shouting` | watch | reject | 550 5.7.1 |") {
		t.Errorf("doc reasons does not have the reason: %s", out)
	}
	if out := milterd("simulate", dir+"/shout.session"); strings.Contains(out, "want the reply") || !strings.Contains(out, "subject-shouting (reject)") {
		t.Errorf("simulate: %s", out)
	}
}

// overlayCheck writes the check of the README to dir, and an overlay that adds it to the module at root.
func overlayCheck(t *testing.T, root, dir string) (file string) {
	t.Helper()
	readme := readFile(t, root+"/README.md")
	part := func(pattern string) string {
		found := regexp.MustCompile("(?s)" + pattern).FindStringSubmatch(readme)
		if found == nil {
			t.Fatalf("the README has no %s", pattern)
		}
		return found[1]
	}
	writeFile(t, dir+"/shout.go", part("```go\n(// Package shout .*?)```"))
	writeFile(t, dir+"/shout_test.go", part("```go\n(package shout\n.*?)```"))
	writeFile(t, dir+"/shout.session", part("```\n(In capital letters.*?)```"))
	registry := readFile(t, root+"/checks/all/all.go")
	registry = strings.Replace(registry, "msgfields.Info", "msgfields.Info, shout.Info", 1)
	registry = strings.Replace(registry, "\t\"milterd/checks/sender\"\n", "\t\"milterd/checks/sender\"\n\t\"milterd/checks/shout\"\n", 1)
	writeFile(t, dir+"/all.go", registry)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		root + "/checks/shout/shout.go":      dir + "/shout.go",
		root + "/checks/shout/shout_test.go": dir + "/shout_test.go",
		root + "/checks/all/all.go":          dir + "/all.go",
	}})
	if err != nil {
		t.Fatal(err)
	}
	file = dir + "/overlay.json"
	writeFile(t, file, string(overlay))
	return file
}
