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

// Walk finds the files that may hold messages at and below the paths, in no order. Folders are read piece by piece. What
// cannot be read comes as an error with its path in the File.
//
// Left out are what a Maildir has not delivered yet (tmp), and what mail programs keep beside mail: files whose name begins
// with a dot, and the indexes of Dovecot, Courier, Cyrus and Thunderbird. Symbolic links to folders are not followed.
func Walk(paths []string) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for _, p := range paths {
			info, err := os.Stat(p)
			switch {
			case err != nil:
				err = cause(err)
			case info.IsDir():
				if !folder(p, yield) {
					return
				}
				continue
			case !info.Mode().IsRegular():
				err = errors.New("not a regular file")
			}
			f := File{Path: p}
			if err == nil {
				f.Size, f.Single = info.Size(), isSingle(p)
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// batch is how many entries of a folder are read at a time.
const batch = 512

// folder finds files in a folder and those below it. It is false if the loop over them has ended.
func folder(path string, yield func(File, error) bool) bool {
	dir, err := os.Open(path)
	if err != nil {
		return yield(File{Path: path}, cause(err))
	}
	var below []string
	for {
		entries, err := dir.ReadDir(batch)
		for _, e := range entries {
			if e.IsDir() {
				below = append(below, filepath.Join(path, e.Name()))
			} else if !entry(path, e, yield) {
				_ = dir.Close() // was only read
				return false
			}
		}
		if err != nil {
			_ = dir.Close()
			if !errors.Is(err, io.EOF) && !yield(File{Path: path}, cause(err)) {
				return false
			}
			break
		}
	}
	maildir := isMaildir(path)
	for _, sub := range below {
		if maildir && filepath.Base(sub) == "tmp" {
			continue
		}
		if !folder(sub, yield) {
			return false
		}
	}
	return true
}

// entry looks at one entry of a folder that is no folder.
func entry(path string, e fs.DirEntry, yield func(File, error) bool) bool {
	if isIndex(e.Name()) {
		return true
	}
	f := File{Path: filepath.Join(path, e.Name())}
	info, err := os.Stat(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true // the mail program has moved it meanwhile, or the link leads nowhere
	case err != nil:
		return yield(f, cause(err))
	case !info.Mode().IsRegular():
		return true // reading a pipe might never end
	}
	f.Size, f.Single = info.Size(), isSingle(f.Path)
	return yield(f, nil)
}

// isMaildir tells whether a folder is a Maildir.
func isMaildir(path string) bool {
	for _, sub := range []string{"cur", "new"} {
		if info, err := os.Stat(filepath.Join(path, sub)); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

// isSingle tells whether a file holds one message by what it is called and where it lies.
func isSingle(path string) bool {
	in := filepath.Base(filepath.Dir(path))
	return strings.EqualFold(filepath.Ext(path), ".eml") || in == "cur" || in == "new"
}

// indexes are the names, or beginnings of names, of what mail programs keep beside mail.
var indexes = [...]string{"dovecot", "courierimap", "courierpop", "cyrus.", "maildirsize", "maildirfolder", "subscriptions"}

func isIndex(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".msf") {
		return true
	}
	for _, i := range indexes {
		if strings.HasPrefix(name, i) {
			return true
		}
	}
	return false
}
