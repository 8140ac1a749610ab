package mailbox

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// The library go-mbox is not used, because it holds a whole message in memory, stops at a message over 64 KiB
// and at a broken one, and takes every line that starts with "From " for a separator.

// separator starts the line before each message of an mbox file, RFC 4155 appendix A.
const separator = "From "

// maxSeparator is the longest separator line, in bytes: a path (RFC 5321 section 4.5.3.1.3) and a date.
const maxSeparator = 400

// readMbox reads an mbox file.
func (r *reader) readMbox(yield func(Message) bool) {
	m := Message{File: r.file.Path}
	var h head
	finish := func() bool {
		m.Head, m.Err = h.result()
		return yield(m)
	}
	afterBlank := false // the last line was blank
	for {
		line, starts, err := r.line()
		if bytes.HasPrefix(line, []byte(separator)) {
			line = bytes.Clone(line) // separates reads ahead, which may overwrite the line
		}
		switch {
		case errors.Is(err, io.EOF):
			finish()
			return
		case r.ctx.Err() != nil:
			return
		case err != nil:
			m.Number = max(m.Number, 1) // the message that was being read
			m.Err, m.Head = withoutPath(err), ""
			yield(m)
			return
		case starts && (m.Number == 0 || r.separates(line, afterBlank)):
			if m.Number > 0 && !finish() {
				return
			}
			m.Number++
			h, r.body = head{}, nil
		case !h.done:
			if h.add(line, starts); h.done && h.err == nil {
				r.beginBody(string(h.text))
				r.copyBody(string(h.text))
			}
		default:
			r.writeBody(unescaped(line, starts))
		}
		afterBlank = starts && isBlank(line)
	}
}

// separates reports whether a line, which was read last, separates two messages: it has the date of a
// separator, and comes after an empty line or before a header field. Programs disagree on which lines of a
// body they escape, and some leave out the empty line before a separator.
func (r *reader) separates(line []byte, afterBlank bool) bool {
	if !bytes.HasPrefix(line, []byte(separator)) || len(line) > maxSeparator || !hasDate(string(line)) {
		return false
	}
	if afterBlank {
		return true
	}
	next, _ := r.buf.Peek(maxName) // shorter at the end of the file
	return len(next) == 0 || startsField(next)
}

// hasDate reports whether a separator has a date as of asctime, "Thu Nov 21 12:00:00 2026", perhaps with a
// zone before or after the year.
func hasDate(line string) bool {
	words := strings.Fields(line)
	clock, year := false, false
	for _, w := range words[1:] {
		switch {
		case len(w) >= len("1:02") && strings.Contains(w, ":") && strings.Trim(w, "0123456789:") == "":
			clock = true
		case clock && len(w) == len("2026") && strings.Trim(w, "0123456789") == "":
			year = true
		}
	}
	return clock && year
}

// unescaped returns a line of a body without the escape of a line that looks like a separator, as in the dialect mboxrd.
// starts reports whether it is the start of a line.
func unescaped(line []byte, starts bool) []byte {
	if starts && bytes.HasPrefix(line, []byte(">")) && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte(separator)) {
		return line[1:]
	}
	return line
}

// copyBody passes on a body whose length is in the header section. Such bodies, of the dialect mboxcl2, may have
// lines that look like separators. The length is used if a separator or the end of the file is where it ends.
func (r *reader) copyBody(header string) {
	n, ok := contentLength(header)
	if !ok || r.readerAt == nil {
		return
	}
	end := make([]byte, len("x\r\n")+len(separator)) // the last byte before the end, and what follows
	got, err := r.readerAt.ReadAt(end, r.at+n-1)
	if got == 0 || err != nil && !errors.Is(err, io.EOF) {
		return
	}
	rest := strings.TrimLeft(string(end[1:got]), "\r\n")
	if rest != "" && !strings.HasPrefix(rest, separator) {
		return
	}
	to := io.Discard
	if r.body != nil {
		to = r.body
	}
	copied, _ := io.CopyN(to, r.buf, n) // the next read fails too
	r.at += copied
	r.ended = true
}

// contentLength returns the value of the field Content-Length.
func contentLength(header string) (int64, bool) {
	for line := range strings.Lines(header) {
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(strings.TrimSpace(name), "Content-Length") {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n, err == nil && n >= 0
		}
	}
	return 0, false
}
