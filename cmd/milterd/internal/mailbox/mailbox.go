// Package mailbox finds stored mail and reads it: mbox files in their dialects (mboxo,
// mboxrd, mboxcl, mboxcl2), Maildirs, folders of single messages, and single messages. It also reads the
// records of milterd, as "milterd log --json" prints them. Files may be compressed by gzip.
//
// Memory does not grow with the size of a file or the number of files: it holds one header section, or the last attempts
// of a list of records. Bodies are written to the caller as they are read. A message that cannot be read is yielded as a
// Message with an error.
//
// Packages replay and feedback use it. Start reading at Walk, which finds files, and File.Messages, which reads one.
package mailbox

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
)

// maxHead is the longest header section that is read, in bytes: as much as the daemon keeps. MTAs accept less by default.
const maxHead = 4 << 20

// Errors of a Message that is not mail. Others come from the file system.
var (
	errNoMail  = errors.New("does not begin with a header field: not mail")
	errEmpty   = errors.New("empty")
	errTooLong = fmt.Errorf("header section over %d KiB", maxHead>>10)
)

// Message is a stored message, a recorded attempt, or an error in the place of one.
type Message struct {
	File    string
	Number  int      // in the file, from 1; 0 in a file of its own
	Head    string   // header section as stored, without the empty line at its end
	Attempt *Attempt // nil if it is a stored message
	Err     error    // why it cannot be read; Head is empty and Attempt nil then
}

// File is a file that may have messages.
type File struct {
	Path   string
	single bool // it has one message, even if it is empty
	Found  bool // it was found in a folder: if it is not mail, it has no messages
}

// BodyFunc returns a writer for the body of the message with a header section, or nil if the body is not needed. The body is
// written before the Message is yielded, with CRLF at the end of its lines and without the escapes of mbox files.
// Errors of the writer are ignored. A nil BodyFunc returns nil.
type BodyFunc func(head string) io.Writer

// Messages yields the messages of the file until ctx ends.
func (f File) Messages(ctx context.Context, body BodyFunc) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		file, err := os.Open(f.Path)
		if err != nil {
			yield(Message{File: f.Path, Err: withoutPath(err)})
			return
		}
		defer func() { _ = file.Close() }() // it was only read
		r := newReader(ctx, f, file, body)
		if start, _ := r.buf.Peek(len(gzipMagic)); string(start) == gzipMagic {
			z, err := gzip.NewReader(r.buf)
			if err != nil {
				yield(Message{File: f.Path, Err: err})
				return
			}
			r = newReader(ctx, f, z, body)
		}
		r.read(yield)
	}
}

// gzipMagic is the start of a file compressed by gzip, RFC 1952 section 2.3.1.
const gzipMagic = "\x1f\x8b"

// maxStart is how many bytes are read to find out what a file is. Only white space may come before a list of records.
const maxStart = 64

// read reads a file of any kind.
func (r *reader) read(yield func(Message) bool) {
	if all, _ := r.buf.Peek(bufferSize); bytes.IndexByte(all, '\n') < 0 && bytes.IndexByte(all, '\r') >= 0 {
		r = newReader(r.ctx, r.file, carriageReturns{src: r.buf}, r.bodyOf)
	}
	start, _ := r.buf.Peek(maxStart)
	switch {
	case bytes.HasPrefix(start, []byte(separator)):
		r.readMbox(yield)
	case startsRecords(start, r.file.Found && !r.file.single):
		r.readRecords(yield)
	default:
		r.readSingle(yield)
	}
}

// startsRecords reports whether a file begins with a JSON array. In a file that was found in a folder, the array must be empty or have
// an object first, because some configuration files begin with a bracket too.
func startsRecords(start []byte, found bool) bool {
	rest, isArray := bytes.CutPrefix(bytes.TrimLeft(start, white), []byte("["))
	rest = bytes.TrimLeft(rest, white)
	return isArray && (!found || bytes.HasPrefix(rest, []byte("{")) || bytes.HasPrefix(rest, []byte("]")))
}

const white = " \t\r\n" // white space in JSON

// carriageReturns reads a file whose lines end with CR alone, as of old programs on the Macintosh.
type carriageReturns struct{ src io.Reader }

// Read implements io.Reader.
func (c carriageReturns) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	for i := range p[:n] {
		if p[i] == '\r' {
			p[i] = '\n'
		}
	}
	return n, err
}

// readSingle reads a file with one message. An empty file may also be an mbox without messages.
func (r *reader) readSingle(yield func(Message) bool) {
	m := Message{File: r.file.Path}
	var h head
	for !h.done || r.body != nil {
		line, starts, err := r.line()
		if errors.Is(err, io.EOF) {
			break
		}
		if r.ctx.Err() != nil {
			return
		}
		if err != nil {
			m.Err = withoutPath(err)
			yield(m)
			return
		}
		if h.done {
			r.writeBody(line)
		} else if h.add(line, starts); h.done && h.err == nil {
			r.beginBody(string(h.text))
		}
	}
	m.Head, m.Err = h.result()
	notMail := errors.Is(m.Err, errNoMail) || m.Err == nil && !hasMailField(m.Head)
	if notMail && r.file.Found && !r.file.single {
		return
	}
	if r.at > 0 || r.file.single {
		yield(m)
	}
}

// mailFields are names of header fields that MTAs and mail programs write. A message that has none of them was not delivered.
var mailFields = [...]string{"Received", "Return-Path", "From", "Date", "Message-ID"}

// hasMailField reports whether a header section has one of mailFields. Program text, Makefiles and settings have lines that
// look like other fields.
func hasMailField(head string) bool {
	for line := range strings.Lines(head) {
		name, _, ok := strings.Cut(line, ":")
		name = strings.TrimRight(name, " \t")
		if ok && slices.ContainsFunc(mailFields[:], func(f string) bool { return strings.EqualFold(name, f) }) {
			return true
		}
	}
	return false
}

// withoutPath returns an error of the file system without the path, which is in Message.File.
func withoutPath(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
