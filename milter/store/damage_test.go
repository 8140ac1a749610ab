package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"milterd/milter/miltertest"
)

// fillFolder writes records to a folder, so that they are in several files, and returns the names of the files.
func fillFolder(t *testing.T, dir string) []string {
	t.Helper()
	s := openTuned(t, Config{Path: dir}, fast)
	for i := range 3000 {
		if err := s.Put(t.Context(), strconv.Itoa(i), bytes.Repeat([]byte{byte(i)}, 100), time.Hour); err != nil {
			t.Fatal(err)
		}
		if i == 1500 {
			miltertest.Eventually(t, "all is written", func() bool { return settled(s) })
			if err := s.driver.(*embedded).db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "store", "*"))
	if err != nil || len(names) < 3 {
		t.Fatalf("got %q, %v", names, err)
	}
	return names
}

// TestDamage damages one file after the other, in several ways. The store must open and work each time. A database that
// it cannot read must be renamed, at once or when the first sweep finds the damage.
func TestDamage(t *testing.T) {
	t.Parallel()
	intact := t.TempDir()
	names := fillFolder(t, intact)
	ways := map[string]func(string, []byte) error{
		"removed":   func(name string, _ []byte) error { return os.Remove(name) },
		"emptied":   func(name string, _ []byte) error { return os.Truncate(name, 0) },
		"truncated": func(name string, b []byte) error { return os.Truncate(name, int64(len(b)/2)) },
		"garbled": func(name string, b []byte) error {
			for i := 10; i < len(b); i += 50 {
				b[i] ^= 0x55
			}
			return os.WriteFile(name, b, 0o600)
		},
		"a folder": func(name string, _ []byte) error { return errors.Join(os.Remove(name), os.Mkdir(name, 0o700)) },
	}
	renamed := atomic.Int64{}
	t.Cleanup(func() { // after the parallel subtests
		if renamed.Load() < 5 {
			t.Errorf("renamed %d times only", renamed.Load())
		}
	})
	for how, damage := range ways {
		for _, file := range names {
			t.Run(fmt.Sprintf("%s %s", filepath.Base(file), how), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(intact)); err != nil {
					t.Fatal(err)
				}
				name := filepath.Join(dir, "store", filepath.Base(file))
				content, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if err := damage(name, content); err != nil {
					t.Fatal(err)
				}
				if wasReplaced(t, dir) {
					renamed.Add(1)
				}
			})
		}
	}
}

// wasReplaced uses the store in a folder that may be damaged, and reports whether the database was replaced.
func wasReplaced(t *testing.T, dir string) bool {
	t.Helper()
	log, hook := logtest.NewNullLogger()
	log.SetOutput(t.Output())
	s := openTuned(t, Config{Path: dir, Log: logrus.NewEntry(log)}, fast)
	e := s.driver.(*embedded)
	miltertest.Eventually(t, "all records are swept", func() bool { return e.sweeper.records.Load() >= 0 && e.damaged.get() == nil })
	miltertest.Eventually(t, "the store works", func() bool { return s.Put(t.Context(), "new", []byte("1"), time.Hour) == nil })
	miltertest.Eventually(t, "all is written", func() bool { return settled(s) })
	if v, ok, err := s.Get(t.Context(), "new"); string(v) != "1" || !ok || err != nil {
		t.Errorf("got %q, %t, %v", v, ok, err)
	}
	for r, err := range s.Scan(t.Context(), "") {
		if err != nil || r.Key == "" {
			t.Errorf("got %q, %v", r.Key, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	renamed, err := filepath.Glob(filepath.Join(dir, "store.damaged-*"))
	if err != nil {
		t.Fatal(err)
	}
	logged := false
	for _, line := range hook.AllEntries() {
		logged = logged || line.Level == logrus.ErrorLevel && strings.Contains(line.Message, "an empty one replaces it")
	}
	if logged != (len(renamed) > 0) {
		t.Errorf("renamed: %q; in the log: %t", renamed, logged)
	}
	return logged
}
