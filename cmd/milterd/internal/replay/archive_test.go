package replay

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"milterd/cmd/milterd/internal/mailbox"
)

func TestNoRoomForTemporaryFile(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing")) // not parallel
	_, err := Run(t.Context(), Options{Paths: []string{file(t, "a.eml", letter{}.String())}, Config: configOf(t, "a.yaml", ""), DNS: NoDNS{}})
	if err == nil || !strings.Contains(err.Error(), "temporary file: ") {
		t.Errorf("got %v", err)
	}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	var a archive
	defer a.close()
	add := func(path string, number int, received time.Time) {
		t.Helper()
		if err := a.add(mailbox.Message{File: path, Number: number, Head: "Message-ID: <" + path + ">\n"}, received); err != nil {
			t.Fatal(err)
		}
	}
	add("late", 0, noon.Add(time.Hour))
	add("b", 0, noon)
	add("a", 10, noon)
	add("a", 9, noon)
	add("before 1970", 0, time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC))
	add("no time", 0, time.Time{})
	if err := a.add(mailbox.Message{File: "log", Number: 3, Attempt: &mailbox.Attempt{Session: "s1", Time: noon, To: "<\u2028>"}}, noon); err != nil {
		t.Fatal(err)
	}
	for _, window := range []int{0, 3, 100} {
		var got, prefetched []string
		for m, err := range a.sorted(window, func(m *mail) { prefetched = append(prefetched, m.file) }) {
			if err != nil {
				t.Fatal(err)
			}
			if n := min(len(got)+window+1, len(a.index)); len(prefetched) != n {
				t.Errorf("window %d: message %d was yielded after %d were prefetched", window, len(got), len(prefetched))
			}
			got = append(got, fmt.Sprint(m.file, " ", m.number))
			if m.attempt == nil && m.messageID() != "<"+m.file+">" || m.attempt != nil && m.attempt.To != "<\u2028>" {
				t.Errorf("%s: got %q, %+v", m.file, m.messageID(), m.attempt)
			}
		}
		if want := []string{"no time 0", "before 1970 0", "a 9", "a 10", "b 0", "log 3", "late 0"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestEntrySize tests what the documentation of archive says.
func TestEntrySize(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(entry{}); n != 56 {
		t.Errorf("an entry has %d bytes", n)
	}
}
