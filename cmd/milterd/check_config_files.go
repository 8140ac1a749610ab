package main

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"milterd/checks/access"
	"milterd/cmd/milterd/internal/config"
)

// checkReadable returns a warning for each file of a configuration that root can read and the user of systemd's unit cannot. For other
// users it returns none: what they cannot read is an error.
func checkReadable(cfg *config.Config, file string) config.Problems {
	u, err := user.Lookup("milterd")
	if err != nil || os.Geteuid() != 0 {
		return nil
	}
	groups, _ := u.GroupIds()
	files := append([]string{file, cfg.Explain.Key}, cfg.RecipientFiles...)
	if s, ok := cfg.Settings(access.Info.Name).(access.Settings); ok {
		files = append(append(files, s.Deny...), s.Allow...)
	}
	var list config.Problems
	for _, f := range files {
		if path := closedTo(u.Uid, groups, f); path != "" {
			list = append(list, config.Problem{File: f, Warning: true}.Saying(
				"the user milterd may not read the file; run chgrp milterd %[1]s and chmod g+rX %[1]s", path))
		}
	}
	return list
}

// closedTo returns the file, or the folder above it, whose mode keeps a user from reading the file. It returns "" if none does.
func closedTo(uid string, groups []string, file string) string {
	path, err := filepath.Abs(file)
	if err != nil || file == "" {
		return ""
	}
	for want := fs.FileMode(0o4); ; path, want = filepath.Dir(path), 0o1 {
		info, err := os.Stat(path)
		if err != nil {
			return "" // an error of its own
		}
		const groupShift, ownerShift = 3, 6
		switch s, _ := info.Sys().(*syscall.Stat_t); {
		case strconv.Itoa(int(s.Uid)) == uid:
			want <<= ownerShift
		case slices.Contains(groups, strconv.Itoa(int(s.Gid))):
			want <<= groupShift
		}
		switch {
		case info.Mode()&want == 0:
			return path
		case path == "/":
			return ""
		}
	}
}
