package miltertest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// exampleLines returns the lines of a file in the folder examples that are not empty and no comments. The address in
// them, from, is replaced, so that mail servers of tests are attached by the lines that operators use.
func exampleLines(t testing.TB, name, comment, from, to string) string {
	t.Helper()
	root, err := ModuleRoot()
	must(t, err)
	text, err := os.ReadFile(filepath.Join(root, "examples", name))
	must(t, err)
	var kept strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, comment) {
			kept.WriteString(line)
		}
	}
	if strings.Count(kept.String(), from) != 1 {
		t.Fatalf("examples/%s does not have the address %s once:\n%s", name, from, &kept)
	}
	return strings.Replace(kept.String(), from, to, 1)
}

// ModuleRoot returns the folder of the module whose package is being tested.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("go.mod not found")
		}
		dir = parent
	}
}
