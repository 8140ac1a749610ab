package replay

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"time"

	"milterd/cmd/milterd/internal/mailbox"
)

// archive has the messages of a replay in the order in which they were received. Their header sections or attempts, and
// the bodies of signed messages, are in a temporary file without a name; an index in memory has 56 bytes for each. The
// original files are not read again: a mail program may rename the files of a Maildir meanwhile, and a compressed file
// can only be read from its start. The zero value is empty.
type archive struct {
	index []entry
	file  *os.File // nil if the archive is empty
	out   *bufio.Writer
	size  int64 // bytes written to out
	body  int64 // of them, in the body of the message that is added next
	err   error // of writing the body
}

// entry is where a message is.
type entry struct {
	seconds int64 // when it was received, since 1970; noTime if that is not known
	path    string
	number  int32 // in the file path
	length  int32 // of the text, in bytes
	offset  int64 // of the text, in archive.file
	attempt bool  // the text is a mailbox.Attempt as JSON, else a header section
	body    int64 // length of the body, which is before the text
}

// noTime sorts messages without a time first.
const noTime = math.MinInt64

// Write implements io.Writer. It writes a part of the body of the message that is added next.
func (a *archive) Write(p []byte) (int, error) {
	n, err := a.write(p)
	a.body += int64(n)
	a.err = cmp.Or(a.err, err)
	return n, err
}

// add adds a message that was received at a time; the zero time is not known.
func (a *archive) add(m mailbox.Message, received time.Time) error {
	if a.err != nil {
		return fmt.Errorf("temporary file: %w", a.err)
	}
	body := a.body
	a.body = 0
	text := []byte(m.Head)
	if m.Attempt != nil {
		var err error
		if text, err = json.Marshal(m.Attempt); err != nil {
			return err
		}
	}
	if _, err := a.write(text); err != nil {
		return fmt.Errorf("temporary file: %w", err)
	}
	e := entry{
		seconds: noTime, path: m.File, number: int32(m.Number), length: int32(len(text)), offset: a.size - int64(len(text)),
		attempt: m.Attempt != nil, body: body,
	}
	if !received.IsZero() {
		e.seconds = received.Unix()
	}
	a.index = append(a.index, e)
	return nil
}

func (a *archive) write(text []byte) (int, error) {
	if a.file == nil {
		f, err := os.CreateTemp("", "milterd-replay-")
		if err != nil {
			return 0, err
		}
		a.file, a.out = f, bufio.NewWriter(f)
		if err := os.Remove(f.Name()); err != nil { // it is deleted when the process ends
			return 0, err
		}
	}
	n, err := a.out.Write(text)
	a.size += int64(n)
	return n, err
}

// sorted yields all messages in order. It calls prefetch with each message window messages before it yields it. An error ends it.
func (a *archive) sorted(window int, prefetch func(*mail)) iter.Seq2[*mail, error] {
	return func(yield func(*mail, error) bool) {
		if a.file == nil {
			return
		}
		if err := a.out.Flush(); err != nil {
			yield(nil, fmt.Errorf("temporary file: %w", err))
			return
		}
		slices.SortFunc(a.index, entry.compare)
		var queue []*mail
		for i := range len(a.index) + window {
			if i < len(a.index) {
				m, err := a.read(a.index[i])
				if err != nil {
					yield(nil, fmt.Errorf("temporary file: %w", err))
					return
				}
				prefetch(m)
				queue = append(queue, m)
			}
			if i >= window && len(queue) > 0 {
				if !yield(queue[0], nil) {
					return
				}
				queue = queue[1:]
			}
		}
	}
}

func (e entry) compare(f entry) int {
	return cmp.Or(cmp.Compare(e.seconds, f.seconds), cmp.Compare(e.path, f.path), cmp.Compare(e.number, f.number))
}

func (a *archive) read(e entry) (*mail, error) {
	text := make([]byte, e.length)
	if _, err := a.file.ReadAt(text, e.offset); err != nil {
		return nil, err
	}
	m := mailbox.Message{File: e.path, Number: int(e.number)}
	if !e.attempt {
		m.Head = string(text)
		read := newMail(m)
		read.body = io.NewSectionReader(a.file, e.offset-e.body, e.body)
		return read, nil
	}
	m.Attempt = new(mailbox.Attempt)
	if err := json.Unmarshal(text, m.Attempt); err != nil {
		return nil, err
	}
	return newMail(m), nil
}

func (a *archive) close() {
	if a.file != nil {
		_ = a.file.Close() // it has no name
	}
}
