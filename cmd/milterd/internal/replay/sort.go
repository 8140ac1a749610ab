package replay

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"sync"
)

// sorter sorts any number of records in bounded memory: what is too much for it waits, sorted, in a temporary file without a
// name. add is safe for concurrent use.
type sorter struct {
	limit int // octets of records in memory

	mu     sync.Mutex
	memory []record
	octets int
	file   *os.File // nil: nothing was too much
	end    int64
	runs   []*io.SectionReader
}

// record is a key and what it is the key of.
type record struct {
	data []byte
	key  int // length of the key, with which data begins
}

func (r record) less(o record) int { return bytes.Compare(r.data[:r.key], o.data[:o.key]) }

// overhead is what a record costs in memory beside its data, in octets.
const overhead = 64

func (s *sorter) add(key, value []byte) error {
	r := record{data: append(key, value...), key: len(key)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory = append(s.memory, r)
	s.octets += len(r.data) + overhead
	if s.octets < s.limit {
		return nil
	}
	return s.spill()
}

// spill moves what is in memory to the file.
func (s *sorter) spill() error {
	if s.file == nil {
		f, err := os.CreateTemp("", "milterd-replay-")
		if err != nil {
			return fmt.Errorf("no room for sorting: %w", err)
		}
		s.file = f
		_ = os.Remove(f.Name()) // it goes on without a name, and is gone with the process
	}
	slices.SortFunc(s.memory, record.less)
	w := bufio.NewWriterSize(io.NewOffsetWriter(s.file, s.end), mergeBuffer)
	begin := s.end
	var lengths []byte
	for _, r := range s.memory {
		lengths = binary.AppendUvarint(binary.AppendUvarint(lengths[:0], uint64(r.key)), uint64(len(r.data)))
		for _, b := range [][]byte{lengths, r.data} {
			n, err := w.Write(b)
			s.end += int64(n)
			if err != nil {
				return fmt.Errorf("no room for sorting: %w", err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("no room for sorting: %w", err)
	}
	s.runs = append(s.runs, io.NewSectionReader(s.file, begin, s.end-begin))
	clear(s.memory)
	s.memory, s.octets = s.memory[:0], 0
	return nil
}

// mergeBuffer is how much of a run is written or read at a time, in octets. Of many runs it is less, so that they all fit into
// what the records had, as long as each has a little.
const (
	mergeBuffer    = 64 << 10
	minMergeBuffer = 4 << 10
)

// sorted goes through the values in the order of their keys, once. The error comes last.
func (s *sorter) sorted() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		slices.SortFunc(s.memory, record.less)
		h := &merge{}
		if len(s.memory) > 0 {
			h.push(&run{memory: s.memory})
		}
		s.memory = nil
		size := max(minMergeBuffer, min(mergeBuffer, s.limit/max(1, len(s.runs))))
		for _, section := range s.runs {
			h.push(&run{file: bufio.NewReaderSize(section, size)})
		}
		for h.Len() > 0 && h.err == nil {
			r := (*h).runs[0]
			if !yield(r.at.data[r.at.key:], nil) {
				return
			}
			h.advance()
		}
		if h.err != nil {
			yield(nil, fmt.Errorf("sorting: %w", h.err))
		}
	}
}

// close gives the file back.
func (s *sorter) close() {
	if s.file != nil {
		_ = s.file.Close() // nobody needs what is in it
	}
}

// run is a sorted sequence of records.
type run struct {
	memory []record
	file   *bufio.Reader
	at     record
}

// next moves to the next record. It is io.EOF after the last.
func (r *run) next() error {
	if r.file == nil {
		if len(r.memory) == 0 {
			return io.EOF
		}
		r.at, r.memory[0] = r.memory[0], record{}
		r.memory = r.memory[1:]
		return nil
	}
	key, err := binary.ReadUvarint(r.file)
	if err != nil {
		return err
	}
	length, err := binary.ReadUvarint(r.file)
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	r.at = record{data: make([]byte, length), key: int(key)}
	if _, err := io.ReadFull(r.file, r.at.data); err != nil {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// merge has the run with the lowest record first. It implements heap.Interface.
type merge struct {
	runs []*run
	err  error
}

func (m *merge) push(r *run) {
	if err := r.next(); err == nil {
		heap.Push(m, r)
	} else if err != io.EOF {
		m.err = err
	}
}

// advance moves the first run to its next record.
func (m *merge) advance() {
	switch err := m.runs[0].next(); err {
	case nil:
		heap.Fix(m, 0)
	case io.EOF:
		heap.Pop(m)
	default:
		m.err = err
	}
}

func (m *merge) Len() int           { return len(m.runs) }
func (m *merge) Less(i, j int) bool { return m.runs[i].at.less(m.runs[j].at) < 0 }
func (m *merge) Swap(i, j int)      { m.runs[i], m.runs[j] = m.runs[j], m.runs[i] }
func (m *merge) Push(x any)         { m.runs = append(m.runs, x.(*run)) }

func (m *merge) Pop() any {
	r := m.runs[len(m.runs)-1]
	m.runs = m.runs[:len(m.runs)-1]
	return r
}
