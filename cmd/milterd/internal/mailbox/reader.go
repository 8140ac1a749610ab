package mailbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
)

// bufferSize is how many bytes are read at a time. A longer line comes in pieces. It must be more than
// maxSeparator and maxName.
const bufferSize = 64 << 10

// reader reads the lines of a file.
type reader struct {
	ctx      context.Context
	file     File
	readerAt io.ReaderAt // the same file; nil if it can only be read in order
	buf      *bufio.Reader
	at       int64 // bytes taken from buf
	ended    bool  // the last piece ended a line

	bodyOf BodyFunc
	body   *crlfWriter // of the current message; nil if it is not needed
}

// byteOrderMark is the start of UTF-8 text from some programs on Windows.
var byteOrderMark = []byte("\xef\xbb\xbf")

func newReader(ctx context.Context, f File, src io.Reader, body BodyFunc) *reader {
	r := &reader{ctx: ctx, file: f, bodyOf: body, buf: bufio.NewReaderSize(src, bufferSize), ended: true}
	r.readerAt, _ = src.(io.ReaderAt)
	if start, _ := r.buf.Peek(len(byteOrderMark)); bytes.Equal(start, byteOrderMark) {
		n, _ := r.buf.Discard(len(byteOrderMark)) // they are in the buffer
		r.at += int64(n)
	}
	return r
}

// line returns a line with its end, or a piece of one that is longer than the buffer; starts reports whether
// it is the start of a line. The piece is valid until the next call.
func (r *reader) line() (piece []byte, starts bool, err error) {
	if err := r.ctx.Err(); err != nil {
		return nil, false, err
	}
	piece, err = r.buf.ReadSlice('\n')
	starts = r.ended
	r.at += int64(len(piece))
	r.ended = err == nil
	if errors.Is(err, bufio.ErrBufferFull) || errors.Is(err, io.EOF) && len(piece) > 0 {
		err = nil
	}
	return piece, starts, err
}

// beginBody begins the body of the message with a header section.
func (r *reader) beginBody(head string) {
	r.body = nil
	if r.bodyOf == nil {
		return
	}
	if w := r.bodyOf(head); w != nil {
		r.body = &crlfWriter{w: w}
	}
}

// writeBody passes on a piece of the body.
func (r *reader) writeBody(piece []byte) {
	if r.body != nil {
		_, _ = r.body.Write(piece) // the writer's owner has the error
	}
}

// crlfWriter writes text with CRLF in place of LF.
type crlfWriter struct {
	w    io.Writer
	last byte // that was written
}

// Write implements io.Writer.
func (c *crlfWriter) Write(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		content, ended := bytes.CutSuffix(line, []byte("\n"))
		if len(content) > 0 {
			c.last = content[len(content)-1]
		}
		if _, err := c.w.Write(content); err != nil {
			return 0, err
		}
		if !ended {
			continue
		}
		end := "\r\n"
		if c.last == '\r' {
			end = "\n"
		}
		if _, err := io.WriteString(c.w, end); err != nil {
			return 0, err
		}
		c.last = '\n'
	}
	return len(text), nil
}

// head collects a header section. The zero value is empty.
type head struct {
	text    []byte
	started bool
	done    bool // the rest is not needed
	err     error
}

// add adds the next piece of the message; starts reports whether it is the start of a line.
func (h *head) add(piece []byte, starts bool) {
	switch {
	case !h.started && starts && bytes.HasPrefix(piece, []byte(">"+separator)):
		return // some programs write a second separator into the header section
	case !h.started && !startsField(piece):
		h.err, h.done = errNoMail, true
	case starts && isBlank(piece):
		h.done = true
	case len(h.text)+len(piece) > maxHead:
		h.text, h.err, h.done = nil, errTooLong, true
	default:
		h.text = append(h.text, piece...)
	}
	h.started = true
}

func (h *head) result() (string, error) {
	switch {
	case !h.started:
		return "", errEmpty
	case h.err != nil:
		return "", h.err
	default:
		return string(h.text), nil
	}
}

// isBlank reports whether a line is empty, as after a header section.
func isBlank(line []byte) bool { return len(bytes.TrimRight(line, "\r\n")) == 0 }

// maxName is the longest name of the first field of a message, in bytes.
const maxName = 200

// startsField reports whether a line starts a header field, RFC 5322 section 2.2, or is an escaped separator.
func startsField(line []byte) bool {
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
	// "2026-01-02T10" and `time="2026-01-02T10` start lines of logs.
	return ok && len(name) > 0 && (name[0] < '0' || name[0] > '9') && !bytes.Contains(name, []byte("="))
}
