package store

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"milterd/milter/miltertest"
)

// writeFormat writes the record with the format to a folder with a store and closes it.
func writeFormat(t *testing.T, dir, value string) {
	t.Helper()
	db, err := pebble.Open(filepath.Join(dir, "store"), &pebble.Options{FormatMajorVersion: pebble.FormatFlushableIngest, Logger: logger{}})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Hour).UnixMilli()
	if err := errors.Join(db.Set([]byte(formatKey), encode(nil, []byte(value), deadline), pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// writeRecord writes a record to the store in a folder.
func writeRecord(t *testing.T, dir, key string) {
	t.Helper()
	s := openTuned(t, Config{Path: dir}, fast)
	if err := errors.Join(s.Put(t.Context(), key, []byte("value"), time.Hour), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestNewerFormat tests that a store of a later version is refused and kept, whether its records or its files are newer.
func TestNewerFormat(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, dir string){
		"records": func(t *testing.T, dir string) { writeFormat(t, dir, strconv.Itoa(format+1)) },
		"files": func(t *testing.T, dir string) {
			t.Helper()
			markers, err := filepath.Glob(filepath.Join(dir, "store", "marker.format-version.*"))
			if err != nil || len(markers) != 1 {
				t.Fatalf("got %q, %v", markers, err)
			}
			newer := filepath.Join(dir, "store", "marker.format-version.000099.999")
			if err := os.Rename(markers[0], newer); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeRecord(t, dir, "key")
			change(t, dir)
			for range 2 {
				_, err := Open(Config{Path: dir})
				if !errors.Is(err, errNewerFormat) || !strings.Contains(err.Error(), dir) {
					t.Fatalf("got %v, want errNewerFormat with the folder", err)
				}
			}
			if moved, err := filepath.Glob(filepath.Join(dir, "*damaged*")); err != nil || len(moved) > 0 {
				t.Errorf("the store was renamed: %q, %v", moved, err)
			}
		})
	}
}

// TestFormatIsWritten tests that a store has its format, that a store without a format or with an unreadable one opens,
// and that neither Scan nor a sweep touches it.
func TestFormatIsWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, before := range []string{"", "0", "garbage"} {
		if before != "" {
			writeFormat(t, dir, before)
		}
		writeRecord(t, dir, "key "+before)
		s := openTuned(t, Config{Path: dir}, fast)
		miltertest.Eventually(t, "the sweep ends", func() bool { n, _ := s.driver.size(t.Context()); return n > 0 })
		for r, err := range s.Scan(t.Context(), "") {
			if err != nil || !strings.HasPrefix(r.Key, "key ") {
				t.Errorf("after %q: got %q, %v", before, r.Key, err)
			}
		}
		raw, err := rawValue(s.driver.(*embedded).db, formatKey)
		if err != nil {
			t.Fatal(err)
		}
		if value, _, ok := decode(raw); !ok || string(value) != strconv.Itoa(format) {
			t.Errorf("after %q: format %q, want %d", before, value, format)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
