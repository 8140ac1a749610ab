package mailbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// readerAt is an open file.
type readerAt struct {
	io.Reader
	io.ReaderAt
}

// readContent returns the first header line of each message in a file with this content, or its error.
func readContent(content string, single bool, wrap func(io.Reader) io.Reader) []string {
	var got []string
	f := File{Path: "x", single: single}
	r := newReader(context.Background(), f, readerAt{wrap(strings.NewReader(content)), strings.NewReader(content)}, nil)
	r.read(func(m Message) bool {
		line, _, _ := strings.Cut(m.Head, "\n")
		if m.Err != nil {
			line = "error: " + m.Err.Error()
		}
		got = append(got, strings.TrimSuffix(line, "\r"))
		return true
	})
	return got
}

const separatorLine = "From bob@example.org Thu Nov 21 12:00:00 2026\n"

// formats are files of each format.
var formats = []struct {
	name, content string
	single        bool
	want          []string
}{
	{name: "mboxo", content: separatorLine + "A: 1\n\n>From here\n\n" + separatorLine + "B: 2\n\nbody\n", want: []string{"A: 1", "B: 2"}},
	{name: "mboxrd", content: separatorLine + "A: 1\n\n>>From here\n\n" + separatorLine + "B: 2\n", want: []string{"A: 1", "B: 2"}},
	{name: "mboxcl2, a body with a whole message", content: separatorLine + "A: 1\nContent-Length: 53\n\n" + separatorLine + "X: 1\n\n\n" + separatorLine + "B: 2\n", want: []string{"A: 1", "B: 2"}},
	{name: "a wrong Content-Length", content: separatorLine + "A: 1\nContent-Length: 7\n\nbody\n\n" + separatorLine + "B: 2\n", want: []string{"A: 1", "B: 2"}},
	{name: "a Content-Length beyond the end", content: separatorLine + "A: 1\nContent-Length: 99999999999\n\nbody\n\n" + separatorLine + "B: 2\n", want: []string{"A: 1", "B: 2"}},
	{name: "CRLF", content: strings.ReplaceAll(separatorLine+"A: 1\n\nbody\n\n"+separatorLine+"B: 2\n\n", "\n", "\r\n"), want: []string{"A: 1", "B: 2"}},
	{name: "no empty line before the separator", content: separatorLine + "A: 1\n\nbody\n" + separatorLine + "B: 2\n", want: []string{"A: 1", "B: 2"}},
	{name: "text that starts with From", content: separatorLine + "A: 1\n\nFrom time to time at 12:00\n\nFrom bob\nFrom: x\n", want: []string{"A: 1"}},
	{name: "a quoted separator in running text", content: separatorLine + "A: 1\n\nhe wrote\n" + separatorLine + "and nothing more\n", want: []string{"A: 1"}},
	{name: "Thunderbird", content: "From - Thu Nov 21 12:00:00 2026\nA: 1\n\n\nFrom - Thu Nov 21 12:00:00 2026\nB: 2\n", want: []string{"A: 1", "B: 2"}},
	{name: "Gmail Takeout", content: "From 1816@xxx Thu Nov 21 12:00:00 +0000 2026\nA: 1\n\nx\n\nFrom 1817@xxx Thu Nov 21 12:00:00 +0000 2026\nB: 2\n", want: []string{"A: 1", "B: 2"}},
	{name: "Mailman", content: "From bob at example.org  Thu Nov 21 12:00:00 2026\nA: 1\n\nx\n\nFrom amy at example.org  Thu Nov 21 12:00:00 2026\nB: 2\n", want: []string{"A: 1", "B: 2"}},
	{name: "two separators", content: separatorLine + ">From bob Thu Nov 21 12:00:00 2026\nA: 1\n", want: []string{"A: 1"}},
	{name: "no line break at the end", content: separatorLine + "A: 1\n\nbody\n\n" + separatorLine + "B: 2", want: []string{"A: 1", "B: 2"}},
	{name: "broken messages between good ones", content: separatorLine + "A: 1\n\n" + separatorLine + "\x00\x01\n\n" + separatorLine + "\nbody alone\n\n" + separatorLine + "B: 2\n\n" + separatorLine,
		want: []string{"A: 1", "error: " + errNoMail.Error(), "error: " + errNoMail.Error(), "B: 2", "error: empty"}},
	{name: "truncated in the header section", content: separatorLine + "A: 1\nX: y\n" + separatorLine + "B: 2\n\n", want: []string{"A: 1", "B: 2"}},
	{name: "an empty mailbox", content: "", want: nil},
	{name: "an empty message", content: "", single: true, want: []string{"error: empty"}},
	{name: "one message", content: "A: 1\nB: 2\n\nbody\n", want: []string{"A: 1"}},
	{name: "one message with a byte order mark", content: "\ufeffA: 1\n\n", want: []string{"A: 1"}},
	{name: "no body", content: "A: 1", want: []string{"A: 1"}},
	{name: "one message with CR alone", content: "A: 1\rB: 2\r\rbody\r", want: []string{"A: 1"}},
	{name: "mbox with CR alone", content: strings.ReplaceAll(separatorLine+"A: 1\n\nbody\n\n"+separatorLine+"B: 2\n", "\n", "\r"), want: []string{"A: 1", "B: 2"}},
	{name: "binary", content: "\x7fELF\x02\x01:\x01", want: []string{"error: " + errNoMail.Error()}},
	{name: "text", content: "Dear diary: today\n", want: []string{"error: " + errNoMail.Error()}},
	{name: "a line that fills the buffer", content: "A: " + strings.Repeat("x", bufferSize-3) + "\nB: 2\n\n", want: []string{"A: " + strings.Repeat("x", bufferSize-3)}},
	{name: "a header section that is too long", content: strings.Repeat("A: 1\n", maxHead/5+1), want: []string{"error: " + errTooLong.Error()}},
	{name: "a line that is too long", content: "A: " + strings.Repeat("1", maxHead), want: []string{"error: " + errTooLong.Error()}},
	{name: "a header section that is too long, between others", content: separatorLine + "A: 1\n\n" + separatorLine + strings.Repeat("X: 1\n", maxHead/5+1) + "\n\n" + separatorLine + "B: 2\n",
		want: []string{"A: 1", "error: " + errTooLong.Error(), "B: 2"}},
}

func TestFormats(t *testing.T) {
	t.Parallel()
	plain := func(r io.Reader) io.Reader { return r }
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			if got := readContent(f.content, f.single, plain); !slices.Equal(got, f.want) {
				t.Errorf("got  %.300q\nwant %.300q", got, f.want)
			}
			if len(f.content) < 10_000 {
				if got := readContent(f.content, f.single, iotest.OneByteReader); !slices.Equal(got, f.want) {
					t.Errorf("byte by byte: got %q\nwant %q", got, f.want)
				}
			}
		})
	}
}

// tree creates files and folders.
func tree(t *testing.T, paths ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, p := range paths {
		full := filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(p, "/") {
			if err := os.MkdirAll(full, 0o700); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(full, []byte("A: 1\n\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestWalk(t *testing.T) {
	t.Parallel()
	root := tree(t, "mbox", "eml/a.eml", "eml/.DS_Store", "eml/deep/b.EML", "m/cur/1:2,S", "m/new/2", "m/tmp/3",
		"m/.Sent/cur/4", "m/.Sent/new/", "m/.Sent/tmp/5", "tmp/6", "lists/dovecot", "lists/subscriptions")
	if err := os.Symlink(filepath.Join(root, "mbox"), filepath.Join(root, "eml/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, filepath.Join(root, "eml/loop")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(root, "eml/broken")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for f, err := range Walk([]string{root, filepath.Join(root, "mbox")}) {
		if err != nil {
			t.Errorf("%s: %v", f.Path, err)
		}
		rel, _ := filepath.Rel(root, f.Path)
		got = append(got, fmt.Sprintf("%s %v", rel, f.single))
	}
	slices.Sort(got)
	want := []string{
		"eml/a.eml true", "eml/deep/b.EML true", "eml/link false", "lists/dovecot false", "lists/subscriptions false", "m/.Sent/cur/4 true",
		"m/cur/1:2,S true", "m/new/2 true", "mbox false", "mbox false", "tmp/6 false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestWalkEnds(t *testing.T) {
	t.Parallel()
	root := tree(t, "a/1", "a/2", "b/3")
	n := 0
	for range Walk([]string{root, root}) {
		n++
		break
	}
	if n != 1 {
		t.Errorf("got %d files", n)
	}
}

func TestUnreadableFiles(t *testing.T) {
	t.Parallel()
	for f, err := range Walk([]string{"/dev/null", filepath.Join(t.TempDir(), "none")}) {
		if err == nil {
			t.Errorf("%s: no error", f.Path)
		}
	}
	n := 0
	for m := range (File{Path: filepath.Join(t.TempDir(), "gone")}).Messages(t.Context(), nil) {
		if n++; !errors.Is(m.Err, os.ErrNotExist) || strings.Contains(m.Err.Error(), "gone") {
			t.Errorf("got %+v", m)
		}
	}
	if n != 1 {
		t.Errorf("got %d messages", n)
	}
}

func TestDiskFailure(t *testing.T) {
	t.Parallel()
	content := separatorLine + "A: 1\n\nbody\n\n" + separatorLine + "B: 2\n"
	broken := io.MultiReader(strings.NewReader(content), iotest.ErrReader(os.ErrDeadlineExceeded))
	r := newReader(t.Context(), File{Path: "x"}, readerAt{broken, strings.NewReader(content)}, nil)
	var got []Message
	r.readMbox(func(m Message) bool { got = append(got, m); return true })
	if len(got) != 2 || got[0].Err != nil || !errors.Is(got[1].Err, os.ErrDeadlineExceeded) {
		t.Errorf("got %+v", got)
	}
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte(strings.Repeat(separatorLine+"A: 1\n\n", 10)), 0o600); err != nil {
		t.Fatal(err)
	}
	n := 0
	for range (File{Path: path}).Messages(ctx, nil) {
		if n++; n == 3 {
			cancel()
		}
	}
	if n != 3 {
		t.Errorf("got %d messages", n)
	}
}

// endless is a file of x.
type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = 'x'
	}
	e.left -= int64(len(p))
	return len(p), nil
}

func (e *endless) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

func TestMemoryIsBounded(t *testing.T) { // not parallel: others allocate too
	const size = 64 << 20
	src := readerAt{io.MultiReader(strings.NewReader(separatorLine+"A: 1\n"), &endless{left: size}), &endless{}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := newReader(t.Context(), File{Path: "x"}, src, nil)
	n := 0
	r.readMbox(func(m Message) bool {
		n++
		if !errors.Is(m.Err, errTooLong) {
			t.Errorf("got %.100q, %v", m.Head, m.Err)
		}
		return true
	})
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; n != 1 || used > 10*maxHead {
		t.Errorf("%d messages, %d bytes allocated for a header section of %d", n, used, size)
	}
}

// FuzzFile reads a file in two ways, which must find the same. Header sections must be in the file.
func FuzzFile(f *testing.F) {
	for _, c := range formats {
		if len(c.content) < 10_000 {
			f.Add([]byte(c.content))
		}
	}
	f.Add([]byte(`[{"session":"s1","rcpts":["a@example.org","b@example.org"],"action":"accept"},{"session":"s1","action":"watch"}]`))
	f.Fuzz(func(t *testing.T, content []byte) {
		var heads, again []string
		collect := func(list *[]string, in io.Reader) {
			r := newReader(context.Background(), File{Path: "x"}, readerAt{in, bytes.NewReader(content)}, nil)
			note := func(m Message) bool {
				if (m.Err == nil) != (m.Head != "" || m.Attempt != nil) {
					t.Errorf("head %q and error %v", m.Head, m.Err)
				}
				lines := bytes.ReplaceAll(content, []byte("\r"), []byte("\n")) // as lines that end with CR alone are read
				if !bytes.Contains(content, []byte(m.Head)) && !bytes.Contains(lines, []byte(m.Head)) {
					t.Errorf("%q is not in the file", m.Head)
				}
				*list = append(*list, m.Head)
				return true
			}
			r.read(note)
		}
		collect(&heads, bytes.NewReader(content))
		collect(&again, iotest.OneByteReader(bytes.NewReader(content)))
		if !slices.Equal(heads, again) {
			t.Errorf("byte by byte: %q, else %q", again, heads)
		}
		stored := slices.DeleteFunc(slices.Clone(heads), func(head string) bool { return head == "" })
		if most := bytes.Count(content, []byte(separator)) + 1; len(stored) > most {
			t.Errorf("%d messages with %d separators", len(stored), most-1)
		}
	})
}

// TestTruncatedArchive tests that the message at which a compressed mbox ends too early is reported with its own number.
func TestTruncatedArchive(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 3 {
		fmt.Fprintf(&text, "%sA: %d\n\n%x\n\n", separatorLine, i+1, make([]byte, 1000))
	}
	packed := compress(text.String())
	path := filepath.Join(t.TempDir(), "mbox.gz")
	if err := os.WriteFile(path, []byte(packed[:len(packed)-9]), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []Message
	for m := range (File{Path: path}).Messages(t.Context(), nil) {
		got = append(got, m)
	}
	last := got[len(got)-1]
	if last.Err == nil || last.Number != len(got) || len(got) > 3 {
		t.Errorf("got %+v", got)
	}
}

// TestFoundMail tests that a file which was found in a folder counts if it has one field of delivered mail.
func TestFoundMail(t *testing.T) {
	t.Parallel()
	for _, content := range []string{
		"X-Filter: x\r\nreturn-path : <>\r\n\r\n", "X-Filter: x\nReceived: by mx.example.org\n\n", "Subject: x\nMESSAGE-ID:\n <1@example.org>\n\n",
		"From: alice@example.net\n", "To: bob@example.org\nDate:\n", ">From alice Thu Nov 21 12:00:00 2024\nDate: x\n",
	} {
		path := filepath.Join(t.TempDir(), "1")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		n := 0
		for m := range (File{Path: path, Found: true}).Messages(t.Context(), nil) {
			if n++; m.Err != nil {
				t.Errorf("%q: %v", content, m.Err)
			}
		}
		if n != 1 {
			t.Errorf("%q: %d messages", content, n)
		}
	}
}

// TestFilesThatAreNotMail tests that files which were found in a folder and are not mail do not count.
func TestFilesThatAreNotMail(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"certificate": "-----BEGIN CERTIFICATE-----\nMIIB\n", "settings": "[mysqld]\nport = 3306\n", "binary": "\x7fELF\x02\x01:\x01\n", "text": "Dear diary: today\n",
		"Makefile": "all:\n\tgo build\n\ninstall: all\n", "settings.yaml": "name: x\non: push\n", "control": "Source: x\nMaintainer: Bob <bob@example.org>\n",
		"page.html": "<html><body>Note: x\n", "note.json": `{"mail":{"from":"bob@example.org"}}`,
		"dovecot.index": "\x07\x03\x78\x00\x28\x00\n", "dovecot.index.cache": "\x01\x04\x00\x00From \n", "dovecot.index.log": "\x01\x03\x28\x00\x8a\xf1:\n",
		"dovecot-uidlist": "3 V1417691525 N3 G9b6fa71b\n1 :1417691525.M1P1.mx\n2 W917 :1417691526.M2P1.mx\n", "dovecot-keywords": "0 $Forwarded\n1 Junk\n",
		"dovecot-uidvalidity": "5480a385\n", "dovecot-acl": "user=bob lr\n", "dovecot.sieve": "require [\"fileinto\"];\nif header :contains \"From\" \"x\" { stop; }\n",
		"courierimapuiddb": "1 1417691525 3\n1 1417691525.M1P1.mx\n", "courierimapsubscribed": "INBOX.Sent\n", "maildirsize": "10000000S\n1234 1\n",
		"cyrus.header": "\xa1\x02\x8b\x0d\x43yrus mailbox header\n\"The best thing\"\n", "subscriptions": "V\t2\n\nSent\nlists\n",
		"inbox.msf": "// <!-- <mdb:mork:z v=\"1.4\"/> -->\n< <(a=c)> // (f=iso-8859-1)\n", "key.pem": "Certificate:\n    Data:\n        Issuer: CN = x\n-----BEGIN CERTIFICATE-----\n",
		"README": "x: a program\n============\n\nFrom: is the sender\n",
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, found := range []bool{true, false} {
			n := 0
			for range (File{Path: path, Found: found}).Messages(t.Context(), nil) {
				n++
			}
			if n > 0 == found {
				t.Errorf("%s, found in a folder %t: %d messages", name, found, n)
			}
		}
	}
}
