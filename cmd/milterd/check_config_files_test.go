package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestClosedTo tests which files and folders keep a user from reading, by their modes.
func TestClosedTo(t *testing.T) {
	t.Parallel()
	root, err := os.MkdirTemp("", "") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	open, closed := filepath.Join(root, "open"), filepath.Join(root, "closed")
	for dir, mode := range map[string]os.FileMode{root: 0o755, open: 0o755, closed: 0o750} {
		_ = os.Mkdir(dir, mode)
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	write := func(path string, mode os.FileMode) string {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
		return path
	}
	secret, ofGroup, forAll := write(open+"/600", 0o600), write(open+"/640", 0o640), write(open+"/644", 0o644)
	below := write(closed+"/644", 0o644)
	uid, other, group := strconv.Itoa(os.Getuid()), strconv.Itoa(os.Getuid()+1), []string{strconv.Itoa(os.Getgid())}
	for _, tt := range []struct {
		name   string
		uid    string
		groups []string
		file   string
		want   string
	}{
		{name: "owner", uid: uid, file: secret},
		{name: "group", uid: other, groups: group, file: ofGroup},
		{name: "group without the permission", uid: other, groups: group, file: secret, want: secret},
		{name: "others", uid: other, file: forAll},
		{name: "others without the permission", uid: other, file: ofGroup, want: ofGroup},
		{name: "folder", uid: other, file: below, want: closed},
		{name: "no file", uid: other, file: open + "/none"},
		{name: "the defaults", uid: other, file: ""},
	} {
		if got := closedTo(tt.uid, tt.groups, tt.file); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
