package main

import (
	"cmp"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
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
	link, pipe := filepath.Join(open, "link"), filepath.Join(open, "pipe")
	if err := cmp.Or(os.Symlink(below, link), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
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
		{name: "folder of a link's target", uid: other, file: link, want: closed},
		{name: "pipe", uid: other, file: pipe},
		{name: "no file", uid: other, file: open + "/none"},
		{name: "the defaults", uid: other, file: ""},
	} {
		if got := closedTo(tt.uid, tt.groups, tt.file); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestClosedFiles tests that no warning is about the files of a configuration that the unit does not read, such as a draft in the folder of
// root.
func TestClosedFiles(t *testing.T) {
	t.Parallel()
	draft := filepath.Join(t.TempDir(), "draft.yaml")
	writeFile(t, draft, "")
	if err := os.Chmod(draft, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := parseConfig(t, "explain: {key: "+draft+"}\n")
	stranger := strconv.Itoa(os.Getuid() + 1)
	if got := closedFiles(stranger, nil, cfg, draft); len(got) != 0 {
		t.Errorf("a draft: %v", got)
	}
	if got := closedFiles(stranger, nil, cfg, defaultConfigFile); len(got) == 0 || got[len(got)-1].File != draft {
		t.Errorf("the default configuration: %v", got)
	}
}

// TestACL tests that a file with an access control list is taken for one that may be read.
func TestACL(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	writeFile(t, path, "")
	list := binary.LittleEndian.AppendUint32(nil, 2) // the version, then tag, permissions and id of each entry
	const owner, user, group, mask, other, none = 1, 2, 4, 16, 32, 1<<32 - 1
	for _, e := range []struct {
		tag, mode uint16
		id        uint32
	}{{owner, 6, none}, {user, 4, 12345}, {group, 0, none}, {mask, 4, none}, {other, 0, none}} {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.mode)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	if hasACL(path) {
		t.Error("a list where there is none")
	}
	if err := unix.Setxattr(path, "system.posix_acl_access", list, 0); err != nil {
		t.Skip("no access control lists here: ", err)
	}
	if !hasACL(path) {
		t.Error("no list")
	}
}

// TestWhatToOpen tests that no folder is opened but that of the configuration.
func TestWhatToOpen(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	writeFile(t, file, "")
	for path, want := range map[string]string{
		file:   "the user milterd may not read the file; run chgrp milterd " + file + " and chmod g+r " + file,
		folder: "the user milterd may not enter the folder " + folder + "; move the file to one that it may enter, such as /etc/milterd",
	} {
		if got := whatToOpen(path); got != want {
			t.Errorf("%s: got %q", path, got)
		}
	}
}
