package store

import (
	"fmt"
	"os"
	"path/filepath"
)

// fileSet are files of a database as they were when it was opened. Deleted files can still be written while they are
// open, and what is written to them is lost; only a look at their names finds that.
type fileSet map[string]os.FileInfo

// newFileSet returns the folders and their lock files.
func newFileSet(folders ...string) fileSet {
	set := fileSet{}
	for _, folder := range folders {
		for _, name := range []string{folder, filepath.Join(folder, "LOCK")} {
			if info, err := os.Stat(name); err == nil {
				set[name] = info
			}
		}
	}
	return set
}

// check returns an error if a file was removed or replaced.
func (set fileSet) check() error {
	for name, opened := range set {
		info, err := os.Stat(name)
		switch {
		case os.IsNotExist(err) || err == nil && !os.SameFile(opened, info):
			return fmt.Errorf("%s was removed or replaced under the running daemon: what it writes is lost; restart it", name)
		case err != nil:
			return err
		}
	}
	return nil
}
