package mailbox

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// separator begins the line before each message of an mbox file (RFC 4155 appendix A).
const separator = "From "

// The library go-mbox was looked at: it holds a message in memory, ends at one over 64 KiB and at one that is broken, and takes
// every line that begins with "From " as a separator.

// maxSeparator is the longest separator, in octets: a path (RFC 5321 section 4.5.3.1.3) and a date.
const maxSeparator = 400

// messages reads the messages of an mbox file.
func (r *reader) messages(yield func(Message) bool) {
	m := Message{File: r.file.Path}
	var h head
	began := r.at
	blank := false // the line before was
	finish := func() bool {
		m.Size, began = r.at-began, r.at
		m.Head, m.Err = h.result()
		return yield(m)
	}
	for {
		line, begins, err := r.piece()
		if bytes.HasPrefix(line, []byte(separator)) {
			line = bytes.Clone(line) // separates looks ahead, which may move what is in the buffer
		}
		switch {
		case errors.Is(err, io.EOF) || err != nil && r.ctx.Err() != nil:
			if m.Number > 0 && err == io.EOF {
				finish()
			}
			return
		case err != nil:
			m.Number++
			m.Err, m.Head, m.Size = cause(err), "", r.file.Size-began
			yield(m)
			return
		case begins && (m.Number == 0 || r.separates(line, blank)):
			// The separator counts to the message after it.
			length := int64(len(line))
			r.at -= length
			if m.Number > 0 && !finish() {
				return
			}
			r.at += length
			m.Number++
			h = head{}
		case !h.done:
			if h.add(line, begins); h.done && h.err == nil {
				r.skip(string(h.text))
			}
		}
		blank = begins && isBlank(line)
	}
}

// separates tells whether the line that was read last begins a message: it has the date of a separator, and comes after an empty
// line or before a header field. Programs disagree about which lines of a body are to be escaped, and some leave out the empty
// line before a separator.
func (r *reader) separates(line []byte, afterBlank bool) bool {
	if !bytes.HasPrefix(line, []byte(separator)) || len(line) > maxSeparator || !hasDate(string(line)) {
		return false
	}
	if afterBlank {
		return true
	}
	next, _ := r.buf.Peek(maxName) // less at the end of the file
	return len(next) == 0 || beginsField(next)
}

// hasDate tells whether the words of a separator after the address are a date as of asctime: "Thu Nov 21 12:00:00 2026", with a
// zone before or after the year at some sites.
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

// skip skips a body whose length the header tells, as mboxcl2 does, whose bodies may have lines that look like separators. The
// length is believed if a separator or the end of the file is where it says.
func (r *reader) skip(header string) {
	n, ok := contentLength(header)
	if !ok || r.random == nil || n > r.file.Size-r.at {
		return
	}
	after := make([]byte, len("\r\n")+len(separator))
	got, err := r.random.ReadAt(after, r.at+n)
	if err != nil && !errors.Is(err, io.EOF) {
		return
	}
	rest := strings.TrimLeft(string(after[:got]), "\r\n")
	if rest != "" && !strings.HasPrefix(rest, separator) {
		return
	}
	skipped, _ := io.CopyN(io.Discard, r.buf, n) // what fails will fail again
	r.at += skipped
	r.whole = true
}

// contentLength is the value of the field Content-Length.
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
