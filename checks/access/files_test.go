package access_test

import (
	"strings"
	"testing"
	"time"

	"milterd/checks/access"
	"milterd/checks/checktest"
)

// TestFileEntries tests that the entries of files are listed with their places, without those that have ended.
func TestFileEntries(t *testing.T) {
	t.Parallel()
	c := build(t, checktest.Env(t, ""), "198.51.100.0/24 why=\"spam\"\n@example.com\n192.0.2.7 until=2026-11-01\n", "# partners\nmail.example.net until=2027-01-31\n").(access.Looker)
	got := c.FileEntries(checktest.Now, 10)
	if len(got) != 3 {
		t.Fatalf("got %+v", got)
	}
	for i, want := range []access.Entry{
		{List: "allow", Entry: "mail.example.net", Until: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC), Line: 2},
		{List: "deny", Entry: "198.51.100.0/24", Why: "spam", Line: 1},
		{List: "deny", Entry: "@example.com", Line: 2},
	} {
		if !strings.HasSuffix(got[i].File, ".txt") {
			t.Errorf("file %q", got[i].File)
		}
		if got[i].File = ""; got[i] != want {
			t.Errorf("got %+v, want %+v", got[i], want)
		}
	}
	if got := c.FileEntries(checktest.Now, 2); len(got) != 2 {
		t.Errorf("at most two: %+v", got)
	}
}
