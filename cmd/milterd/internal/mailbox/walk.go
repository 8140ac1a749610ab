package mailbox

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
)

// Walk yields the files that may have messages at and below the paths, in no particular order. An error comes
// with the File that it is about.
//
// It leaves out the folder tmp of a Maildir, whose messages are not delivered yet, and files whose name starts with a dot. It
// does not follow symbolic links to folders.
func Walk(paths []string) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for _, p := range paths {
			if !walkPath(p, yield) {
				return
			}
		}
	}
}

// walkPath yields the files at and below a path of Walk. It returns false if the loop over the files ended.
func walkPath(path string, yield func(File, error) bool) bool {
	f := File{Path: path}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return yield(f, withoutPath(err))
	case info.IsDir():
		return walkFolder(path, yield)
	case !info.Mode().IsRegular():
		return yield(f, errors.New("not a regular file"))
	}
	f.single = isSingle(path)
	return yield(f, nil)
}

// batch is how many entries of a folder are in memory at a time.
const batch = 512

// walkFolder yields the files in a folder and below it. It returns false if the loop over the files ended.
func walkFolder(path string, yield func(File, error) bool) bool {
	dir, err := os.Open(path)
	if err != nil {
		return yield(File{Path: path}, withoutPath(err))
	}
	defer func() { _ = dir.Close() }() // it was only read
	var folders []string
	for err == nil {
		var entries []fs.DirEntry
		entries, err = dir.ReadDir(batch)
		for _, e := range entries {
			if e.IsDir() {
				folders = append(folders, filepath.Join(path, e.Name()))
			} else if !walkEntry(path, e, yield) {
				return false
			}
		}
	}
	if !errors.Is(err, io.EOF) && !yield(File{Path: path}, withoutPath(err)) {
		return false
	}
	maildir := isMaildir(path)
	for _, folder := range folders {
		if maildir && filepath.Base(folder) == "tmp" {
			continue
		}
		if !walkFolder(folder, yield) {
			return false
		}
	}
	return true
}

// walkEntry yields an entry of a folder if it is a file that may have messages.
func walkEntry(path string, e fs.DirEntry, yield func(File, error) bool) bool {
	if strings.HasPrefix(e.Name(), ".") {
		return true
	}
	f := File{Path: filepath.Join(path, e.Name()), Found: true}
	info, err := os.Stat(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true // a mail program moved it, or it is a link to nothing
	case err != nil:
		return yield(f, withoutPath(err))
	case !info.Mode().IsRegular():
		return true // reading a pipe might not end
	}
	f.single = isSingle(f.Path)
	return yield(f, nil)
}

// isMaildir reports whether a folder is a Maildir.
func isMaildir(path string) bool {
	for _, sub := range []string{"cur", "new"} {
		if info, err := os.Stat(filepath.Join(path, sub)); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

// isSingle reports whether a file has one message, as its name or its folder says.
func isSingle(path string) bool {
	folder := filepath.Base(filepath.Dir(path))
	return strings.EqualFold(filepath.Ext(path), ".eml") || folder == "cur" || folder == "new"
}
