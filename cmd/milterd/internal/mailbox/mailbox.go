// Package mailbox finds stored mail and reads the header sections of it: mbox files in their dialects (mboxo, mboxrd, mboxcl,
// mboxcl2), Maildirs, folders of single messages, and single messages. It also reads the records of milterd, as "milterd log
// --json" prints them. Each may be compressed by gzip.
//
// It streams: what is kept in memory is one header section at a time, of records those of the last attempts, whatever the size of a
// file or the number of entries in a folder. What cannot be read is a Message with an error, and the next one follows.
package mailbox

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
)

// MaxHead is the longest header section that is read, in octets. No MTA lets so much through by default.
const MaxHead = 1 << 20

// The errors of a Message that is there and is no mail; others are those of the file system.
var (
	ErrNoMail  = errors.New("does not begin with a header field: no mail message")
	ErrEmpty   = errors.New("empty")
	ErrTooLong = fmt.Errorf("header section over %d KiB", MaxHead>>10)
)

// Message is one stored message, or something in its place that cannot be read.
type Message struct {
	File   string
	Number int    // in the file, from 1; 0 in a file of its own
	Head   string // header section as it is stored, without the empty line at its end
	Size   int64  // octets that the message takes in the file, separator included
	Err    error  // it cannot be read: Head is empty

	Attempt *Attempt // it is an attempt in a list of records: Head is empty; nil: it is mail
}

// File is a file that may hold messages.
type File struct {
	Path   string
	Size   int64
	Single bool // it is known to hold one message, because of where it lies or of its name
}

// Messages reads the messages of the file. The context ends it.
func (f File) Messages(ctx context.Context) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		file, err := os.Open(f.Path)
		if err != nil {
			yield(Message{File: f.Path, Size: f.Size, Err: cause(err)})
			return
		}
		defer func() { _ = file.Close() }() // was only read
		r := newReader(ctx, f, file)
		if start, _ := r.buf.Peek(len(gzipMagic)); string(start) == gzipMagic {
			r.compressed(yield)
		} else {
			r.all(yield)
		}
	}
}

// all reads what there is, as what it looks like.
func (r *reader) all(yield func(Message) bool) {
	start, _ := r.buf.Peek(maxStart)
	switch {
	case bytes.HasPrefix(start, []byte(separator)):
		r.messages(yield)
	case bytes.HasPrefix(bytes.TrimLeft(start, " \t\r\n"), []byte("[")):
		r.records(yield)
	default:
		if m, ok := r.single(); ok {
			yield(m)
		}
	}
}

// maxStart is how much of a file tells what it is, in octets.
const maxStart = 64

// gzipMagic begins a file that gzip has compressed, RFC 1952 section 2.3.1.
const gzipMagic = "\x1f\x8b"

// compressed reads a file that gzip has compressed. The octets of its messages are those of the file.
func (r *reader) compressed(yield func(Message) bool) {
	packed := &counter{Reader: r.buf}
	failed := func(err error) { yield(Message{File: r.file.Path, Size: r.file.Size, Err: err}) }
	z, err := gzip.NewReader(packed)
	if err != nil {
		failed(err)
		return
	}
	inner := newReader(r.ctx, r.file, z)
	told := int64(0)
	inner.all(func(m Message) bool {
		m.Size, told = packed.n-told, packed.n
		return yield(m)
	})
}

// counter counts what is read.
type counter struct {
	io.Reader
	n int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// cause is what went wrong, without the path that the caller names.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// bufferSize is how much is read at a time. A line that is longer comes in pieces.
const bufferSize = 64 << 10

// reader reads lines of a file.
type reader struct {
	ctx    context.Context
	file   File
	random io.ReaderAt // the same file, for looking ahead; nil: there is none
	buf    *bufio.Reader
	at     int64 // octets taken from buf
	whole  bool  // the piece that was read last ended a line
}

// byteOrderMark is what some programs on Windows put before a text in UTF-8.
var byteOrderMark = []byte("\xef\xbb\xbf")

func newReader(ctx context.Context, f File, src io.Reader) *reader {
	r := &reader{ctx: ctx, file: f, buf: bufio.NewReaderSize(src, bufferSize), whole: true}
	r.random, _ = src.(io.ReaderAt)
	if start, _ := r.buf.Peek(len(byteOrderMark)); bytes.Equal(start, byteOrderMark) {
		n, _ := r.buf.Discard(len(byteOrderMark)) // it was peeked
		r.at += int64(n)
	}
	return r
}

// piece reads a line with its end, or a part of one that is longer than the buffer; begins tells whether a line begins with it. It
// is valid until the next call.
func (r *reader) piece() (line []byte, begins bool, err error) {
	if err := r.ctx.Err(); err != nil {
		return nil, false, err
	}
	line, err = r.buf.ReadSlice('\n')
	begins = r.whole
	r.at += int64(len(line))
	r.whole = err == nil
	if errors.Is(err, bufio.ErrBufferFull) || errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	return line, begins, err
}

// single reads a file that has one message. It is false if an empty file may as well be an mbox without messages, or if the
// context ended before there was something to tell.
func (r *reader) single() (Message, bool) {
	m := Message{File: r.file.Path, Size: r.file.Size}
	var head head
	for !head.done {
		line, begins, err := r.piece()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			m.Err = cause(err)
			return m, r.ctx.Err() == nil
		}
		head.add(line, begins)
	}
	m.Head, m.Err = head.result()
	return m, r.at > 0 || r.file.Single
}

// head collects a header section.
type head struct {
	text []byte
	some bool // something was added
	done bool // the rest is body, or of no interest
	err  error
}

// add takes the next piece of the message; begins tells whether a line begins with it.
func (h *head) add(piece []byte, begins bool) {
	switch {
	case !h.some && begins && bytes.HasPrefix(piece, []byte(">"+separator)):
		return // some programs put a second separator into the header
	case !h.some && !beginsField(piece):
		h.err, h.done = ErrNoMail, true
	case begins && isBlank(piece):
		h.done = true
	case len(h.text)+len(piece) > MaxHead:
		h.text, h.err, h.done = nil, ErrTooLong, true
	default:
		h.text = append(h.text, piece...)
	}
	h.some = true
}

// isBlank tells whether a line is the empty one after a header section.
func isBlank(line []byte) bool { return len(bytes.TrimRight(line, "\r\n")) == 0 }

func (h *head) result() (string, error) {
	if !h.some {
		return "", ErrEmpty
	}
	if h.err != nil {
		return "", h.err
	}
	return string(h.text), nil
}

// maxName is the longest name of a field that may begin a message.
const maxName = 200

// beginsField tells whether a line begins with a field name of RFC 5322 section 2.2 and a colon, or with a separator that was
// escaped.
func beginsField(line []byte) bool {
	if bytes.HasPrefix(line, []byte(">"+separator)) {
		return true
	}
	name, _, ok := bytes.Cut(line[:min(len(line), maxName)], []byte(":"))
	name = bytes.TrimRight(name, " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	// "2026-01-02T10" and `time="2026-01-02T10` begin lines of logs.
	return ok && len(name) > 0 && (name[0] < '0' || name[0] > '9') && !bytes.Contains(name, []byte("="))
}
