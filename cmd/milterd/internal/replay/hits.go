package replay

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"time"
)

// hit is a message that the report names.
type hit struct {
	File    string `json:"f"`
	Unit    string `json:"u,omitempty"`
	Number  int    `json:"n,omitempty"`
	ID      string `json:"i,omitempty"`
	Session string `json:"l,omitempty"` // in the log
	From    string `json:"s,omitempty"` // for show
	At      int64  `json:"t,omitempty"` // seconds since 1970; 0: not known
}

func hitOf(m *mail) hit {
	h := hit{File: m.File, Unit: m.Unit, Number: m.Number, ID: m.ID, Session: m.Session, From: senderOf(m)}
	if !m.Time.IsZero() {
		h.At = m.Time.Unix()
	}
	return h
}

// place is where the message lies, for people.
func (h hit) place() string {
	if h.Number > 0 {
		return fmt.Sprintf("%s, %s %d", h.File, h.Unit, h.Number)
	}
	return h.File
}

// name is what the message is found by.
func (h hit) name() string {
	if h.Session != "" {
		return "session " + h.Session
	}
	return h.ID
}

func (h hit) day() string {
	if h.At == 0 {
		return ""
	}
	return time.Unix(h.At, 0).UTC().Format(time.DateOnly)
}

// hits is a list of any length: the first of it in memory, the rest in a temporary file without a name.
type hits struct {
	first []hit
	count int
	file  *os.File
	out   *bufio.Writer
}

// keep is how many hits of a list are in memory, and how many the reports for people could show.
const keep = 500

func (l *hits) add(h hit) error {
	l.count++
	if len(l.first) < keep {
		l.first = append(l.first, h)
		return nil
	}
	if l.file == nil {
		f, err := os.CreateTemp("", "milterd-replay-")
		if err != nil {
			return fmt.Errorf("no room for the report: %w", err)
		}
		_ = os.Remove(f.Name()) // it goes on without a name, and is gone with the process
		l.file, l.out = f, bufio.NewWriter(f)
	}
	line, err := json.Marshal(h)
	if err == nil {
		_, err = l.out.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("no room for the report: %w", err)
	}
	return nil
}

// all goes through the list. The error comes last.
func (l *hits) all() iter.Seq2[hit, error] {
	return func(yield func(hit, error) bool) {
		for _, h := range l.first {
			if !yield(h, nil) {
				return
			}
		}
		if l.file == nil {
			return
		}
		err := l.out.Flush()
		if err == nil {
			_, err = l.file.Seek(0, io.SeekStart)
		}
		dec := json.NewDecoder(bufio.NewReader(l.file))
		for i := len(l.first); i < l.count && err == nil; i++ {
			var h hit
			if err = dec.Decode(&h); err == nil && !yield(h, nil) {
				return
			}
		}
		if err != nil {
			yield(hit{}, fmt.Errorf("report: %w", err))
		}
	}
}

func (l *hits) close() {
	if l.file != nil {
		_ = l.file.Close() // nobody needs what is in it
	}
}

// tally counts by name, a limited number of names.
type tally struct {
	counts map[string]int
	others int // of names that found no room
}

// maxNames is how many names are counted one by one.
const maxNames = 5_000

func (t *tally) add(name string) {
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	if _, known := t.counts[name]; !known && len(t.counts) >= maxNames {
		t.others++
		return
	}
	t.counts[name]++
}

// counted is a name with its count.
type counted struct {
	Name  string
	Count int
}

// most are the names that were counted most often, at most n.
func (t *tally) most(n int) []counted {
	var list []counted
	for _, name := range slices.Sorted(maps.Keys(t.counts)) {
		list = append(list, counted{name, t.counts[name]})
	}
	slices.SortStableFunc(list, func(a, b counted) int { return cmp.Compare(b.Count, a.Count) })
	return list[:min(n, len(list))]
}

// names says how many there are.
func (t *tally) names() string {
	if t.others > 0 {
		return fmt.Sprintf("over %d", len(t.counts))
	}
	return fmt.Sprint(len(t.counts))
}
