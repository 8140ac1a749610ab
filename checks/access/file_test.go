package access_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/access"
	"milterd/checks/checktest"
)

// watched is a check with one deny list, whose file a test changes.
type watched struct {
	t     *testing.T
	file  string
	check checks.Check
	log   bytes.Buffer
	now   time.Time
}

func watch(t *testing.T, lines string) *watched {
	t.Helper()
	w := &watched{t: t, file: write(t, lines), now: checktest.Now}
	w.touch()
	env := checktest.Env(t, "")
	env.Log.Logger.SetOutput(&w.log)
	w.check = checktest.Build(t, access.Info, env, func(s *access.Settings) { s.Deny = []string{w.file} })
	return w
}

// touch gives the file a time of its own: a test is faster than the clock of a file system.
func (w *watched) touch() {
	w.t.Helper()
	w.now = w.now.Add(time.Minute)
	if err := os.Chtimes(w.file, w.now, w.now); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) rewrite(lines string) {
	w.t.Helper()
	if err := os.WriteFile(w.file, []byte(lines), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.touch()
}

// tend lets the daemon look at the file so many times.
func (w *watched) tend(times int) {
	for range times {
		w.check.(checks.Maintainer).Maintain(context.Background(), w.now)
	}
}

func (w *watched) denies(client string) bool {
	w.t.Helper()
	vs, err := checktest.Ask(w.t, access.Info, w.check, checktest.Session{Client: client}.Request(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(vs) == 1
}

func (w *watched) condition() checks.Condition { return w.check.(checks.Maintainer).Report()[0] }

func TestChangedFileIsReadAgain(t *testing.T) {
	t.Parallel()
	w := watch(t, "192.0.2.1\n")
	w.tend(3)
	if !w.denies("192.0.2.1") || w.denies("192.0.2.2") {
		t.Fatal("the first content is not in force")
	}
	if n := strings.Count(w.log.String(), "read an access list"); n != 1 {
		t.Errorf("an unchanged file was read %d times", n)
	}
	w.rewrite("192.0.2.2\n")
	w.tend(2)
	if w.denies("192.0.2.1") || !w.denies("192.0.2.2") {
		t.Error("the second content is not in force")
	}
	w.tend(3)
	if n := strings.Count(w.log.String(), "read an access list"); n != 2 {
		t.Errorf("read %d times", n)
	}
}

func TestReplacedFileIsReadAgain(t *testing.T) {
	t.Parallel()
	w := watch(t, "192.0.2.1\n")
	other := filepath.Join(filepath.Dir(w.file), "new")
	if err := os.WriteFile(other, []byte("192.0.2.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(other, w.now, w.now); err != nil { // as old and as long as the one before
		t.Fatal(err)
	}
	if err := os.Rename(other, w.file); err != nil {
		t.Fatal(err)
	}
	w.tend(2)
	if w.denies("192.0.2.1") || !w.denies("192.0.2.2") {
		t.Error("the new file is not in force")
	}
}

func TestFileIsNotReadWhileItIsWritten(t *testing.T) {
	t.Parallel()
	w := watch(t, "192.0.2.1\n192.0.2.2\n")
	for _, half := range []string{"", "192.0.2.1\n192.", "192.0.2.1\n192.0.2.3\n"} {
		w.rewrite(half)
		w.tend(1)
		if !w.denies("192.0.2.1") || !w.denies("192.0.2.2") || w.denies("192.0.2.3") {
			t.Fatalf("with %q the old content is not in force", half)
		}
	}
	w.tend(1)
	if w.denies("192.0.2.2") || !w.denies("192.0.2.3") {
		t.Error("the new content is not in force")
	}
	if strings.Contains(w.log.String(), "left out") && strings.Contains(w.log.String(), "level=warning") {
		t.Errorf("half a line was read:\n%s", &w.log)
	}
}

func TestVanishedFileKeepsItsContent(t *testing.T) {
	t.Parallel()
	w := watch(t, "192.0.2.1\n")
	if err := os.Remove(w.file); err != nil {
		t.Fatal(err)
	}
	w.tend(4)
	if !w.denies("192.0.2.1") {
		t.Error("the content went with the file")
	}
	if n := strings.Count(w.log.String(), "cannot be read, its last content stays in force"); n != 1 {
		t.Errorf("told %d times:\n%s", n, &w.log)
	}
	if c := w.condition(); c.State != "old" || !c.Since.Equal(w.now) || !strings.Contains(c.Why, "no such file") || c.Counts["entries"] != 1 {
		t.Errorf("got %+v", c)
	}
	w.rewrite("192.0.2.2\n")
	w.tend(2)
	if w.denies("192.0.2.1") || !w.denies("192.0.2.2") {
		t.Error("the file is back, and was not read")
	}
	if c := w.condition(); c.State != "on" || !c.Since.IsZero() || c.Why != "" {
		t.Errorf("got %+v", c)
	}
}

func TestFileThatComesBackUnchanged(t *testing.T) {
	t.Parallel()
	w := watch(t, "192.0.2.1\n")
	aside := w.file + ".aside"
	if err := os.Rename(w.file, aside); err != nil {
		t.Fatal(err)
	}
	w.tend(1)
	if err := os.Rename(aside, w.file); err != nil {
		t.Fatal(err)
	}
	w.tend(2)
	if c := w.condition(); c.State != "on" || !w.denies("192.0.2.1") {
		t.Errorf("got %+v", c)
	}
}

func TestFileThatBecomesAFolderKeepsItsContent(t *testing.T) {
	t.Parallel()
	w := watch(t, "192.0.2.1\n")
	if err := os.Remove(w.file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.file, 0o700); err != nil {
		t.Fatal(err)
	}
	w.tend(6)
	if !w.denies("192.0.2.1") || w.condition().State != "old" {
		t.Error("the content went with the file")
	}
	if n := strings.Count(w.log.String(), "is no regular file"); n != 1 {
		t.Errorf("told %d times:\n%s", n, &w.log)
	}
}

func TestBadLinesAreToldAndTheRestIsInForce(t *testing.T) {
	t.Parallel()
	w := watch(t, "192.0.2.1\n192.0.2.300\n192.0.2.2\n")
	if !w.denies("192.0.2.1") || !w.denies("192.0.2.2") {
		t.Error("the rest is not in force")
	}
	for _, part := range []string{"file=", "list.txt", "line=2", "192.0.2.300", "a line of an access list was left out"} {
		if !strings.Contains(w.log.String(), part) {
			t.Errorf("no %q in the log:\n%s", part, &w.log)
		}
	}
	if c := w.condition(); c.State != "on" || c.Counts["entries"] != 2 || c.Counts["left_out"] != 1 || !strings.Contains(c.Why, "list.txt:2: ") {
		t.Errorf("got %+v", c)
	}
	w.rewrite(strings.Repeat("bad line\n", 1000))
	w.tend(2)
	if n := strings.Count(w.log.String(), "a line of an access list was left out"); n != 1+20 || !strings.Contains(w.log.String(), "more=980") {
		t.Errorf("told of %d lines", n)
	}
}

// TestSessionsMeetChanges is for the race detector.
func TestSessionsMeetChanges(t *testing.T) {
	t.Parallel()
	w := watch(t, "192.0.2.1\n")
	done := make(chan bool)
	go func() {
		defer close(done)
		for range 20 {
			w.rewrite("192.0.2.1\n192.0.2.2\n")
			w.tend(2)
		}
	}()
	for range 200 {
		if !w.denies("192.0.2.1") {
			t.Error("the entry was not in force")
			break
		}
		w.condition()
	}
	<-done
}

func TestFileThatCannotBeReadAtTheStart(t *testing.T) {
	t.Parallel()
	absent := filepath.Join(t.TempDir(), "absent.txt")
	for _, name := range []string{absent, t.TempDir(), os.DevNull} {
		for list, s := range map[string]access.Settings{"deny": {Deny: []string{name}}, "allow": {Allow: []string{name}}} {
			_, err := access.Info.New(func(v any) error { *v.(*access.Settings) = s; return nil }, checktest.Env(t, ""))
			if err == nil || !strings.HasPrefix(err.Error(), list+": ") || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v", err)
			}
			if faults := s.Faults(); len(faults) != 1 {
				t.Errorf("got %v", faults)
			}
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for text, s := range map[string]access.Settings{
		"a list wants the name of a file":    {Deny: []string{""}},
		`"a.txt" is there twice`:             {Allow: []string{"a.txt", "b.txt", "a.txt"}},
		`"a.txt" cannot both deny and allow`: {Allow: []string{"a.txt"}, Deny: []string{"b.txt", "a.txt"}},
	} {
		if err := s.Validate(); err == nil || err.Error() != text {
			t.Errorf("got %v, want %s", err, text)
		}
	}
	if err := (access.Settings{Deny: []string{"a"}, Allow: []string{"b"}}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestLogLevel(t *testing.T) {
	t.Parallel()
	w := watch(t, "192.0.2.1\n")
	if !strings.Contains(w.log.String(), "level="+logrus.InfoLevel.String()) || strings.Contains(w.log.String(), "level="+logrus.WarnLevel.String()) {
		t.Errorf("a good file is nothing to warn of:\n%s", &w.log)
	}
}
