package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated parts of documents, and their pictures")

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestExampleConfiguration tests that examples/milterd.yaml is the output of milterd doc config.
func TestExampleConfiguration(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if code := run(t.Context(), []string{"doc", "config"}, &out, io.Discard); code != 0 {
		t.Fatal(code)
	}
	if got := readFile(t, "../../examples/milterd.yaml"); got != out.String() {
		t.Error("examples/milterd.yaml is not what milterd doc config prints: make examples")
	}
	if code := run(t.Context(), []string{"check-config", "-c", "../../examples/milterd.yaml"}, &out, &out); code != 0 {
		t.Errorf("check-config: %s", &out)
	}
}

func TestEveryDirectDependencyIsInTheReadme(t *testing.T) {
	t.Parallel()
	readme := readFile(t, "../../README.md")
	for line := range strings.SplitSeq(readFile(t, "../../go.mod"), "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(line, "require "))
		if strings.Contains(line, "// indirect") || !strings.Contains(line, " v") {
			continue
		}
		if module, _, _ := strings.Cut(line, " "); !strings.Contains(readme, "`"+module+"`") {
			t.Errorf("README.md does not say what %s is for", module)
		}
	}
}

func TestCheckConfig(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/milterd.yaml"
	writeFile(t, path, "profil: strict\nactions:\n  helo-mismach: reject\n")
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"check-config", "-c", path}, &out, &errs); code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{path + ":1:1: ", `"profile"`, path + ":3:3: ", `"helo-mismatch"`} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("no %q in\n%s", want, &errs)
		}
	}
}
