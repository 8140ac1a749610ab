package checks

import (
	"fmt"
	"io/fs"
	"os"
)

// WithoutCall returns an error of package os without the name of the system call, as in "/etc/x: permission denied". It returns any
// other error as it is.
func WithoutCall(err error) error {
	switch e := err.(type) { // not errors.As: the text of what wraps the error would be lost
	case *fs.PathError:
		return fmt.Errorf("%s: %w", e.Path, e.Err)
	case *os.LinkError:
		return fmt.Errorf("%s: %w", e.New, e.Err)
	}
	return err
}
