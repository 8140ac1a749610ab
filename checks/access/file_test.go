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

// listFile is a check with one deny list, whose file a test changes.
type listFile struct {
	t     *testing.T
	file  string
	check checks.Check
	log   bytes.Buffer
	now   time.Time
}

func newListFile(t *testing.T, lines string) *listFile {
	t.Helper()
	f := &listFile{t: t, file: write(t, lines), now: checktest.Now}
	f.touch()
	env := checktest.Env(t, "")
	env.Log.Logger.SetOutput(&f.log)
	f.check = checktest.Build(t, access.Info, env, func(s *access.Settings) { s.Deny = []string{f.file} })
	return f
}

// touch sets a new modification time: a test may write twice within the resolution of the file system.
func (f *listFile) touch() {
	f.t.Helper()
	f.now = f.now.Add(time.Minute)
	if err := os.Chtimes(f.file, f.now, f.now); err != nil {
		f.t.Fatal(err)
	}
}

func (f *listFile) rewrite(lines string) {
	f.t.Helper()
	if err := os.WriteFile(f.file, []byte(lines), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.touch()
}

// maintain calls Maintain several times.
func (f *listFile) maintain(times int) {
	for range times {
		f.check.(checks.Maintainer).Maintain(context.Background(), f.now)
	}
}

func (f *listFile) denies(client string) bool {
	f.t.Helper()
	vs, err := checktest.Ask(f.t, access.Info, f.check, checktest.Session{Client: client}.Request(f.t))
	if err != nil {
		f.t.Fatal(err)
	}
	return len(vs) == 1
}

func (f *listFile) condition() checks.Condition { return f.check.(checks.Maintainer).Report()[0] }

func TestChangedFileIsReadAgain(t *testing.T) {
	t.Parallel()
	f := newListFile(t, "192.0.2.1\n")
	f.maintain(3)
	if !f.denies("192.0.2.1") || f.denies("192.0.2.2") {
		t.Fatal("the first content is not in force")
	}
	if n := strings.Count(f.log.String(), "read an access list"); n != 1 {
		t.Errorf("an unchanged file was read %d times", n)
	}
	f.rewrite("192.0.2.2\n")
	f.maintain(2)
	if f.denies("192.0.2.1") || !f.denies("192.0.2.2") {
		t.Error("the second content is not in force")
	}
	f.maintain(3)
	if n := strings.Count(f.log.String(), "read an access list"); n != 2 {
		t.Errorf("read %d times", n)
	}
}

func TestReplacedFileIsReadAgain(t *testing.T) {
	t.Parallel()
	f := newListFile(t, "192.0.2.1\n")
	replacement := filepath.Join(filepath.Dir(f.file), "new")
	if err := os.WriteFile(replacement, []byte("192.0.2.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(replacement, f.now, f.now); err != nil { // the same time and length as before
		t.Fatal(err)
	}
	if err := os.Rename(replacement, f.file); err != nil {
		t.Fatal(err)
	}
	f.maintain(2)
	if f.denies("192.0.2.1") || !f.denies("192.0.2.2") {
		t.Error("the new file is not in force")
	}
}

func TestFileIsNotReadWhileItIsWritten(t *testing.T) {
	t.Parallel()
	f := newListFile(t, "192.0.2.1\n192.0.2.2\n")
	for _, half := range []string{"", "192.0.2.1\n192.", "192.0.2.1\n192.0.2.3\n"} {
		f.rewrite(half)
		f.maintain(1)
		if !f.denies("192.0.2.1") || !f.denies("192.0.2.2") || f.denies("192.0.2.3") {
			t.Fatalf("with %q the old content is not in force", half)
		}
	}
	f.maintain(1)
	if f.denies("192.0.2.2") || !f.denies("192.0.2.3") {
		t.Error("the new content is not in force")
	}
	if strings.Contains(f.log.String(), "left out") && strings.Contains(f.log.String(), "level=warning") {
		t.Errorf("half a line was read:\n%s", &f.log)
	}
}

func TestRemovedFileKeepsItsEntries(t *testing.T) {
	t.Parallel()
	f := newListFile(t, "192.0.2.1\n")
	if err := os.Remove(f.file); err != nil {
		t.Fatal(err)
	}
	f.maintain(4)
	if !f.denies("192.0.2.1") {
		t.Error("the entries are no longer in force")
	}
	if n := strings.Count(f.log.String(), "cannot read an access list, its previous entries stay in force"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &f.log)
	}
	if c := f.condition(); c.State != "old" || !c.Since.Equal(f.now) || !strings.Contains(c.Why, "no such file") || c.Counts["entries"] != 1 {
		t.Errorf("got %+v", c)
	}
	f.rewrite("192.0.2.2\n")
	f.maintain(2)
	if f.denies("192.0.2.1") || !f.denies("192.0.2.2") {
		t.Error("the file that came back was not read")
	}
	if c := f.condition(); c.State != "on" || !c.Since.IsZero() || c.Why != "" {
		t.Errorf("got %+v", c)
	}
}

func TestRemovedFileComesBackUnchanged(t *testing.T) {
	t.Parallel()
	f := newListFile(t, "192.0.2.1\n")
	moved := f.file + ".moved"
	if err := os.Rename(f.file, moved); err != nil {
		t.Fatal(err)
	}
	f.maintain(1)
	if err := os.Rename(moved, f.file); err != nil {
		t.Fatal(err)
	}
	f.maintain(2)
	if c := f.condition(); c.State != "on" || !f.denies("192.0.2.1") {
		t.Errorf("got %+v", c)
	}
}

func TestFileReplacedByFolderKeepsItsEntries(t *testing.T) {
	t.Parallel()
	f := newListFile(t, "192.0.2.1\n")
	if err := os.Remove(f.file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.file, 0o700); err != nil {
		t.Fatal(err)
	}
	f.maintain(6)
	if !f.denies("192.0.2.1") || f.condition().State != "old" {
		t.Error("the entries are no longer in force")
	}
	if n := strings.Count(f.log.String(), "not a regular file"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &f.log)
	}
}

func TestFaultsAreLoggedAndTheOtherLinesApply(t *testing.T) {
	t.Parallel()
	f := newListFile(t, "192.0.2.1\n192.0.2.300\n192.0.2.2\n")
	if !f.denies("192.0.2.1") || !f.denies("192.0.2.2") {
		t.Error("the other lines are not in force")
	}
	for _, part := range []string{"file=", "list.txt", "line=2", "192.0.2.300", "left out a line of an access list"} {
		if !strings.Contains(f.log.String(), part) {
			t.Errorf("no %q in the log:\n%s", part, &f.log)
		}
	}
	if c := f.condition(); c.State != "on" || c.Counts["entries"] != 2 || c.Counts["left_out"] != 1 || !strings.Contains(c.Why, "list.txt:2: ") {
		t.Errorf("got %+v", c)
	}
	f.rewrite(strings.Repeat("bad line\n", 1000))
	f.maintain(2)
	if n := strings.Count(f.log.String(), "left out a line of an access list"); n != 1+20 || !strings.Contains(f.log.String(), "more=980") {
		t.Errorf("logged %d lines", n)
	}
}

// TestSessionsDuringChanges is for the race detector.
func TestSessionsDuringChanges(t *testing.T) {
	t.Parallel()
	f := newListFile(t, "192.0.2.1\n")
	done := make(chan bool)
	go func() {
		defer close(done)
		for range 20 {
			f.rewrite("192.0.2.1\n192.0.2.2\n")
			f.maintain(2)
		}
	}()
	for range 200 {
		if !f.denies("192.0.2.1") {
			t.Error("the entry was not in force")
			break
		}
		f.condition()
	}
	<-done
}

func TestUnreadableFileAtTheStart(t *testing.T) {
	t.Parallel()
	absent := filepath.Join(t.TempDir(), "absent.txt")
	for _, name := range []string{absent, t.TempDir(), os.DevNull} {
		for list, s := range map[string]access.Settings{"deny": {Deny: []string{name}}, "allow": {Allow: []string{name}}} {
			_, err := access.Info.New(func(v any) error { *v.(*access.Settings) = s; return nil }, checktest.Env(t, ""))
			if err == nil || !strings.HasPrefix(err.Error(), list+": ") || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v", err)
			}
			if faults := s.Faults(); len(faults) != 1 || !strings.HasPrefix(faults[0].Error(), list+"[0]: cannot read "+name+": ") || !strings.HasSuffix(faults[0].Error(), "; correct the path or the file, or remove it from the list") {
				t.Errorf("got %v", faults)
			}
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for text, s := range map[string]access.Settings{
		`deny[0]: "" is not a file; write a path such as /etc/milterd/deny.txt, or delete the entry`: {Deny: []string{""}},
		`allow[2]: "a.txt" is in the list twice; delete one of them`:                                 {Allow: []string{"a.txt", "b.txt", "a.txt"}},
		`deny[1]: "a.txt" is in allow too; delete one of them`:                                       {Allow: []string{"a.txt"}, Deny: []string{"b.txt", "a.txt"}},
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
	f := newListFile(t, "192.0.2.1\n")
	if !strings.Contains(f.log.String(), "level="+logrus.InfoLevel.String()) || strings.Contains(f.log.String(), "level="+logrus.WarnLevel.String()) {
		t.Errorf("a file without faults was logged as a warning:\n%s", &f.log)
	}
}
