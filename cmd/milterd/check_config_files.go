package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"milterd/checks/access"
	"milterd/cmd/milterd/internal/config"
)

// checkReadable returns a warning for each file of the default configuration that root can read and the user of systemd's unit cannot.
// For other users it returns none: what they cannot read is an error.
func checkReadable(cfg *config.Config, file string) config.Problems {
	u, err := user.Lookup("milterd")
	if err != nil || os.Geteuid() != 0 {
		return nil
	}
	groups, _ := u.GroupIds()
	return closedFiles(u.Uid, groups, cfg, file)
}

// closedFiles returns the warnings of checkReadable for a user. For a configuration that is not the default one there are none: the unit
// does not read it.
func closedFiles(uid string, groups []string, cfg *config.Config, file string) config.Problems {
	if path, err := filepath.Abs(file); err != nil || path != defaultConfigFile {
		return nil
	}
	files := append([]string{file, cfg.Explain.Key}, cfg.RecipientFiles...)
	if s, ok := cfg.Settings(access.Info.Name).(access.Settings); ok {
		files = append(append(files, s.Deny...), s.Allow...)
	}
	var list config.Problems
	for _, f := range files {
		if path := closedTo(uid, groups, f); path != "" {
			list = append(list, config.Problem{File: f, Warning: true}.Saying("%s", whatToOpen(path)))
		}
	}
	return list
}

// whatToOpen says what to do about a file or a folder that closedTo returned. It opens no folder but that of the configuration: others may
// hold what is not for milterd.
func whatToOpen(path string) string {
	home := filepath.Dir(defaultConfigFile)
	info, err := os.Stat(path)
	switch {
	case err != nil || !info.IsDir():
		return fmt.Sprintf("the user milterd may not read the file; run chgrp milterd %[1]s and chmod g+r %[1]s", path)
	case path == home:
		return fmt.Sprintf("the user milterd may not enter the folder %[1]s; run chgrp milterd %[1]s and chmod g+x %[1]s", path)
	default:
		return fmt.Sprintf("the user milterd may not enter the folder %s; move the file to one that it may enter, such as %s", path, home)
	}
}

// closedTo returns the file, or a folder above it, whose mode keeps a user from reading the file. It returns "" if none does. If a link leads
// to the file, the folders above both count.
func closedTo(uid string, groups []string, file string) string {
	path, err := filepath.Abs(file)
	if err != nil || file == "" {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return "" // an error of its own, or a pipe, which only this command reads
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	return cmp.Or(closedPart(uid, groups, path), closedPart(uid, groups, target))
}

// closedPart is closedTo for an absolute path, by the folders that it names.
func closedPart(uid string, groups []string, path string) string {
	for want := fs.FileMode(0o4); ; path, want = filepath.Dir(path), 0o1 {
		info, err := os.Stat(path)
		if err != nil {
			return ""
		}
		const groupShift, ownerShift = 3, 6
		switch s, _ := info.Sys().(*syscall.Stat_t); {
		case strconv.Itoa(int(s.Uid)) == uid:
			want <<= ownerShift
		case slices.Contains(groups, strconv.Itoa(int(s.Gid))):
			want <<= groupShift
		}
		switch {
		case info.Mode()&want == 0 && !hasACL(path):
			return path
		case path == "/":
			return ""
		}
	}
}

// hasACL reports whether a file has an access control list, which may open it for users whom its mode does not name.
func hasACL(path string) bool {
	n, err := unix.Getxattr(path, "system.posix_acl_access", nil)
	return err == nil && n > 0
}
