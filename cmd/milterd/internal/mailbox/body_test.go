package mailbox

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// TestBodies tests which bodies are written, from plain and compressed files. Messages without the field Want are not
// asked for.
func TestBodies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, content string
		want          []string // bodies, of the messages with the field Want
	}{
		{"one message", "Want: 1\n\na\n\nb", []string{"a\r\n\r\nb"}},
		{"one message that is not asked for", "A: 1\n\na\n", nil},
		{"CRLF", "Want: 1\r\n\r\na\r\nb\rc\r\r\n", []string{"a\r\nb\rc\r\r\n"}},
		{"no body", "Want: 1\n", nil},
		{"an empty body", "Want: 1\n\n", []string{""}},
		{"a line that starts with >From in a message of its own", "Want: 1\n\n>From x\n", []string{">From x\r\n"}},
		{"a long line", "Want: 1\n\n" + strings.Repeat("x", bufferSize) + "\ny\n", []string{strings.Repeat("x", bufferSize) + "\r\ny\r\n"}},
		{"a long line with CR at the end of the buffer", "Want: 1\r\n\r\n" + strings.Repeat("x", bufferSize-1) + "\r\ny\r\n", []string{strings.Repeat("x", bufferSize-1) + "\r\ny\r\n"}},
		{"mbox", separatorLine + "Want: 1\n\na\n\n" + separatorLine + "B: 2\n\nb\n\n" + separatorLine + "Want: 3\n\nc\n", []string{"a\r\n\r\n", "c\r\n"}},
		{"escaped separators", separatorLine + "Want: 1\n\n>From x\n>>From y\n> From z\na >From\n", []string{"From x\r\n>From y\r\n> From z\r\na >From\r\n"}},
		{"broken messages between", separatorLine + "Want: 1\n\na\n\n" + separatorLine + "\x00\x01\n\nx\n" + separatorLine + "Want: 2\n\nb\n", []string{"a\r\n\r\n", "b\r\n"}},
		{"a length", separatorLine + "Want: 1\nContent-Length: 59\n\n>From a\n" + separatorLine + "X: 1\n\n" + separatorLine + "Want: 2\n\nb\n",
			[]string{">From a\r\n" + strings.TrimSuffix(separatorLine, "\n") + "\r\nX: 1\r\n\r\n", "b\r\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var all []*bytes.Buffer
			body := func(head string) io.Writer {
				if !strings.HasPrefix(head, "Want") {
					return nil
				}
				all = append(all, new(bytes.Buffer))
				return all[len(all)-1]
			}
			check := func(how string) {
				t.Helper()
				var got []string
				for _, b := range all {
					got = append(got, b.String())
				}
				if all = nil; !slices.Equal(got, c.want) {
					t.Errorf("%s: got  %.300q\nwant %.300q", how, got, c.want)
				}
			}
			dir := t.TempDir()
			read := func(name string, content []byte) {
				t.Helper()
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
				for range (File{Path: path}).Messages(t.Context(), body) {
				}
			}
			read("plain", []byte(c.content))
			check("plain")
			if !strings.Contains(c.content, "Content-Length") { // needs a file that can be read anywhere
				var packed bytes.Buffer
				z := gzip.NewWriter(&packed)
				_, _ = z.Write([]byte(c.content))
				z.Close()
				read("packed", packed.Bytes())
				check("packed")
			}
			r := newReader(t.Context(), File{Path: "x"}, readerAt{iotest.OneByteReader(strings.NewReader(c.content)), strings.NewReader(c.content)}, body)
			r.read(func(Message) bool { return true })
			check("byte by byte")
		})
	}
}
