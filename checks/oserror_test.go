package checks

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestWithoutCall tests that errors of package os keep the path and the cause.
func TestWithoutCall(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none")
	_, errStat := os.Stat(none)
	other := errors.New("other")
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"a path", errStat, none + ": no such file or directory"},
		{"a link", os.Link(none, none+"2"), none + "2: no such file or directory"},
		{"another error", other, "other"},
	} {
		if got := WithoutCall(tt.err); got.Error() != tt.want || tt.err != other && !errors.Is(got, fs.ErrNotExist) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := WithoutCall(nil); got != nil {
		t.Errorf("no error: got %v", got)
	}
}
