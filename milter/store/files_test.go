package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFolderIsRemoved tests that the store is down when its files are removed: they can still be written, but all is
// lost.
func TestFolderIsRemoved(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(dir string) error{
		"the state folder":   os.RemoveAll,
		"the database in it": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "store")) },
		"another folder in its place": func(dir string) error {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			return os.MkdirAll(filepath.Join(dir, "store"), 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "state")
			s := open(t, Config{Path: dir})
			if err := s.Put(t.Context(), "a", []byte("1"), time.Hour); err != nil {
				t.Fatal(err)
			}
			s.breaker.probe(t.Context())
			if err := s.healthy(); err != nil {
				t.Fatal(err)
			}
			if err := remove(dir); err != nil {
				t.Fatal(err)
			}
			s.breaker.probe(t.Context())
			err := s.healthy()
			if err == nil || !strings.Contains(err.Error(), "removed or replaced under the running daemon") {
				t.Errorf("got %v", err)
			}
			if st := s.Status(); st.OK || !strings.Contains(st.Error, dir) {
				t.Errorf("got %+v", st)
			}
			if err := s.Put(t.Context(), "b", []byte("1"), time.Hour); err == nil {
				t.Error("a change was accepted that would be lost")
			}
		})
	}
}
