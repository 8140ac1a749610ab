package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"milterd/cmd/milterd/doc"
)

// TestUpstream tests the guide "upstream" on copies of the libraries: each reproduction fails as long as no patch is applied, and
// each patch applies. With all patches of a library, its tests and the reproductions pass.
func TestUpstream(t *testing.T) {
	t.Parallel()
	requirePrograms(t, "git")
	libraries := upstreamLibraries(t)
	if len(libraries) != 2 {
		t.Fatalf("%d libraries", len(libraries))
	}
	for name, lib := range libraries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lib.copy(t)
			lib.wantFailures(t)
			for _, patch := range lib.patches {
				lib.git(t, patch, "apply", "--check")
			}
			for _, patch := range lib.patches {
				lib.git(t, patch, "apply")
			}
			if out, err := lib.test("-run", "."); err != nil {
				t.Errorf("with the patches: %v\n%s", err, out)
			}
		})
	}
}

// library is a library of the guide "upstream".
type library struct {
	module  string
	folder  string                      // of the copy
	modfile string                      // go.mod that replaces the module by the copy
	tests   map[string]*strings.Builder // functions, by the folder of their package
	patches []string
}

// packageFolders are the packages that the guide has tests for: library and folder in it.
var packageFolders = map[string][2]string{
	"milter": {"go-milter", "."}, "dkim": {"go-msgauth", "dkim"}, "dmarc": {"go-msgauth", "dmarc"},
}

// upstreamLibraries reads the guide. Blocks of tests have the language "go PACKAGE", those of patches "diff LIBRARY".
func upstreamLibraries(t *testing.T) map[string]*library {
	t.Helper()
	list := map[string]*library{}
	get := func(name string) *library {
		if list[name] == nil {
			list[name] = &library{module: "github.com/emersion/" + name, tests: map[string]*strings.Builder{}}
		}
		return list[name]
	}
	for _, b := range doc.Parse(readFile(t, "doc/upstream.md")) {
		lang, name, _ := strings.Cut(b.Lang, " ")
		switch {
		case b.Kind != doc.Code:
		case lang == "diff":
			lib := get(name)
			lib.patches = append(lib.patches, b.Text+"\n")
		case packageFolders[name][0] == "":
			t.Fatalf("doc/upstream.md:%d: unknown package %q", b.Line, name)
		default:
			at := packageFolders[name]
			lib := get(at[0])
			if lib.tests[at[1]] == nil {
				lib.tests[at[1]] = &strings.Builder{}
				fmt.Fprintf(lib.tests[at[1]], "package %s\n", name)
			}
			fmt.Fprintf(lib.tests[at[1]], "\n%s\n", b.Text)
		}
	}
	return list
}

// copy copies the source of the library from the module cache, and adds the reproductions.
func (lib *library) copy(t *testing.T) {
	t.Helper()
	source, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", lib.module).Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	lib.folder, lib.modfile = filepath.Join(dir, "library"), filepath.Join(dir, "go.mod")
	if err := os.CopyFS(lib.folder, os.DirFS(strings.TrimSpace(string(source)))); err != nil {
		t.Fatal(err)
	}
	writeFile(t, lib.modfile, readFile(t, root+"/go.mod")+"\nreplace "+lib.module+" => "+lib.folder+"\n")
	writeFile(t, filepath.Join(dir, "go.sum"), readFile(t, root+"/go.sum"))
	for folder, text := range lib.tests {
		writeFile(t, filepath.Join(lib.folder, folder, "upstream_test.go"), withImports(text.String()))
	}
}

// withImports adds the imports of a test file, which the guide leaves out.
func withImports(text string) string {
	clause, functions, _ := strings.Cut(text, "\n")
	for _, path := range []string{
		"bytes", "encoding/base64", "io", "io/ioutil", "net", "runtime", "strings", "testing", "time", "golang.org/x/crypto/ed25519",
	} {
		if regexp.MustCompile(`\b` + filepath.Base(path) + `\.[A-Z]`).MatchString(functions) {
			clause += fmt.Sprintf("\nimport %q", path)
		}
	}
	return clause + "\n" + functions
}

// wantFailures tests that every reproduction fails.
func (lib *library) wantFailures(t *testing.T) {
	t.Helper()
	var names []string
	for _, text := range lib.tests {
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(text.String(), -1) {
			names = append(names, m[1])
		}
	}
	if len(names) != len(lib.patches) {
		t.Errorf("%d tests for %d patches", len(names), len(lib.patches))
	}
	out, _ := lib.test("-run", "^("+strings.Join(names, "|")+")$")
	for _, name := range names {
		if !strings.Contains(out, "--- FAIL: "+name+" ") {
			t.Errorf("%s does not fail without the patch:\n%s", name, out)
		}
	}
}

// test runs the tests of the packages that have reproductions.
func (lib *library) test(flags ...string) (string, error) {
	args := append([]string{"test", "-vet=off", "-modfile", lib.modfile}, flags...)
	for _, folder := range slices.Sorted(maps.Keys(lib.tests)) {
		args = append(args, strings.TrimSuffix(lib.module+"/"+folder, "/."))
	}
	out, err := exec.Command("go", args...).CombinedOutput()
	return string(out), err
}

// git runs a command of git on a patch.
func (lib *library) git(t *testing.T, patch string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = lib.folder, strings.NewReader(patch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("git %v: %v: %s\n%s", args, err, out, patch)
	}
}
