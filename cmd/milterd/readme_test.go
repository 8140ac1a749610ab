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

// TestTheFirstExampleOfTheReadme runs it where nobody has a name.
func TestTheFirstExampleOfTheReadme(t *testing.T) {
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

// TestTheExampleCheckOfTheReadme adds the check of the README to the program, in an overlay: its one folder and its one
// word in the registry. Configuration, reference and simulate must know it, and the tests of the registry must like it.
func TestTheExampleCheckOfTheReadme(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	readme := readFile(t, root+"/README.md")
	part := func(pattern string) string {
		found := regexp.MustCompile("(?s)" + pattern).FindStringSubmatch(readme)
		if found == nil {
			t.Fatalf("the README has no %s", pattern)
		}
		return found[1]
	}
	dir := t.TempDir()
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
	writeFile(t, dir+"/overlay.json", string(overlay))

	golang := func(args ...string) string {
		cmd := exec.Command("go", args...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState.ExitCode() < 0 {
			t.Fatal(err)
		}
		return string(out)
	}
	out := golang("test", "-vet=off", "-overlay", dir+"/overlay.json", "-run", "Test[^F]", "./checks/all") // TestFolders looks at the disk
	if !strings.HasPrefix(out, "ok") {
		t.Errorf("the registry's tests: %s", out)
	}
	// Its folder is not on the disk, so that its tests are run elsewhere.
	if out := golang("test", "-c", "-vet=off", "-overlay", dir+"/overlay.json", "-o", dir+"/shout.test", "./checks/shout"); out != "" {
		t.Fatal(out)
	}
	own := exec.Command(dir + "/shout.test")
	own.Dir = dir
	if out, err := own.CombinedOutput(); err != nil {
		t.Errorf("its own tests: %v: %s", err, out)
	}
	bin, err := daemontest.Build("-overlay", dir+"/overlay.json")
	if err != nil {
		t.Fatal(err)
	}
	milterd := func(args ...string) string {
		out, _ := exec.Command(bin, args...).CombinedOutput()
		return string(out)
	}
	if out := milterd("doc", "config"); !strings.Contains(out, "shout:\n    # How many capital letters a subject may have.\n    letters: 20") {
		t.Errorf("the reference configuration does not have it: %s", out)
	}
	if out := milterd("doc", "reasons"); !strings.Contains(out, "| shout | `subject-shouting` | watch | reject | 550 5.7.1 |") {
		t.Errorf("the reasons do not have it: %s", out)
	}
	if out := milterd("simulate", dir+"/shout.session"); strings.Contains(out, "want the reply") || !strings.Contains(out, "subject-shouting (reject)") {
		t.Errorf("simulate: %s", out)
	}
}
