package store

import (
	"fmt"
	"os"
	"path/filepath"
)

// place is what the embedded store has on the disk, as it was when the store was opened. Files that were removed can be written to
// as before for as long as they are open, and all that is written is lost when they are closed: nothing but a look at the names
// tells.
type place map[string]os.FileInfo

// placeOf takes down the folders and the files that lock them.
func placeOf(folders ...string) place {
	p := place{}
	for _, f := range folders {
		for _, name := range []string{f, filepath.Join(f, "LOCK")} {
			if info, err := os.Stat(name); err == nil {
				p[name] = info
			}
		}
	}
	return p
}

// moved tells what is not there any more, or is another one.
func (p place) moved() error {
	for name, was := range p {
		info, err := os.Stat(name)
		switch {
		case os.IsNotExist(err) || err == nil && !os.SameFile(was, info):
			return fmt.Errorf("%s was removed or replaced under the running daemon: what it writes is lost; restart it", name)
		case err != nil:
			return err
		}
	}
	return nil
}
