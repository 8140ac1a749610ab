package records

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestLoadKeyMakesAKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "explain.key")
	key, made, err := LoadKey(path)
	if err != nil || !made || len(key) != keyLength {
		t.Fatalf("%d bytes, %v, %v", len(key), made, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	again, made, err := LoadKey(path)
	if err != nil || made || !bytes.Equal(key, again) {
		t.Errorf("the second time: %v, %v", made, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("temporary files left: %q", left)
	}
}

// TestLoadKeyConcurrently shows that daemons that start at the same time get the same key.
func TestLoadKeyConcurrently(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "explain.key")
	keys := make([]string, 8)
	var loading sync.WaitGroup
	for i := range keys {
		loading.Go(func() {
			key, _, err := LoadKey(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = string(key)
		})
	}
	loading.Wait()
	for _, k := range keys {
		if k != keys[0] || k == "" {
			t.Fatal("different keys")
		}
	}
}

func TestLoadKeyErrors(t *testing.T) {
	t.Parallel()
	good := strings.Repeat("ab", keyLength)
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"readable by everybody", good, 0o644, "other users"},
		{"too short", good[2:], 0o600, "64 hexadecimal digits"},
		{"not hexadecimal", strings.Repeat("xy", keyLength), 0o600, "64 hexadecimal digits"},
		{"empty", "", 0o600, "64 hexadecimal digits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "k")
			if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
				t.Fatal(err)
			}
			if _, _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, _, err := LoadKey(filepath.Join(t.TempDir(), "missing", "k")); err == nil {
		t.Error("no error for a missing folder")
	}
}
