package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated parts of the README")

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

// between matches the generated table of reasons in the README.
var between = regexp.MustCompile(`(?s)(<!-- made by milterd doc reasons -->\n).*?(<!-- end -->)`)

func TestReadmeHasTheReasons(t *testing.T) {
	t.Parallel()
	var table bytes.Buffer
	writeReasonTable(&table)
	const path = "../../README.md"
	text := readFile(t, path)
	want := between.ReplaceAllString(text, "${1}"+strings.ReplaceAll(table.String(), "$", "$$")+"${2}")
	if !between.MatchString(text) {
		t.Fatal("the README has no place for the table of reasons")
	}
	if want == text {
		return
	}
	if *update {
		writeFile(t, path, want)
		return
	}
	t.Error("the table of reasons is out of date: make examples")
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

func TestUnknownDoc(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"doc":         "milterd: doc what? There is config, man, reasons\n",
		"doc foo":     "milterd: unknown command \"foo\"\n",
		"doc confing": "milterd: unknown command \"confing\"; did you mean config?\n",
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), strings.Fields(line), &out, &errs); code != 1 || out.Len() > 0 || errs.String() != want {
			t.Errorf("milterd %s: exit code %d, %s%s", line, code, &out, &errs)
		}
	}
}

func TestManualPages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if code := run(t.Context(), []string{"doc", "man", dir}, io.Discard, io.Discard); code != 0 {
		t.Fatal(code)
	}
	if page := readFile(t, dir+"/milterd-serve.8"); !strings.Contains(page, "SIGHUP") {
		t.Errorf("got %s", page)
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
