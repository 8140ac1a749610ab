package access

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

const (
	// maxFileSize is the length of a file in bytes, about a million entries. Half of it would refuse some published lists.
	maxFileSize = 64 << 20
	// maxFaultsLogged is how many faults of one file are logged one by one. A file of another format has a fault in each line.
	maxFaultsLogged = 20
)

// file is a list on disk. Sessions read only its state, so none of them waits for the disk.
type file struct {
	name  string
	allow bool
	log   *logrus.Entry
	state atomic.Pointer[state]

	// Used by build and Maintain alone.
	loaded os.FileInfo // of the list in force
	seen   os.FileInfo // at the last Maintain; nil if the file could not be read
}

// state is what is known about a file. It does not change.
type state struct {
	*list            // from the last time the file could be read
	faults []fault   // of list
	err    error     // why the file cannot be read; nil if it can
	since  time.Time // of err
}

// openAll reads files for the first time.
func openAll(names []string, allow bool, log *logrus.Entry) ([]*file, error) {
	files := make([]*file, len(names))
	for i, name := range names {
		f := &file{name: name, allow: allow, log: log.WithField("file", name)}
		if err := f.load(); err != nil {
			return nil, fmt.Errorf("cannot read the list: %w", err)
		}
		files[i] = f
	}
	return files, nil
}

// current returns the lists in force.
func current(files []*file) lists {
	ls := make(lists, len(files))
	for i, f := range files {
		ls[i] = f.state.Load().list
	}
	return ls
}

// load reads the file, puts its list in force and logs the faults.
func (f *file) load() error {
	text, info, err := read(f.name)
	if err != nil {
		return err
	}
	l, faults := parse(f.name, text, f.allow)
	f.loaded, f.seen = info, info
	f.state.Store(&state{list: l, faults: faults})
	for i, fault := range faults {
		if i == maxFaultsLogged {
			f.log.WithField("more", len(faults)-i).Warn("left out more lines of an access list")
			break
		}
		f.log.WithField("line", fault.line).WithError(fault.err).Warn("left out a line of an access list")
	}
	f.log.WithFields(logrus.Fields{"entries": l.entries, "left_out": len(faults)}).Info("read an access list")
	return nil
}

// read reads a file. The FileInfo is from before the read, so that a later write is noticed as a change.
func read(name string) (string, os.FileInfo, error) {
	info, err := os.Stat(name) // before Open, which would block on a named pipe
	if err != nil {
		return "", nil, checks.WithoutCall(err)
	}
	if !info.Mode().IsRegular() {
		return "", nil, fmt.Errorf("%s: not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", nil, checks.WithoutCall(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	switch {
	case err != nil:
		return "", nil, err
	case len(text) > maxFileSize:
		return "", nil, fmt.Errorf("%s: larger than %d MiB", name, maxFileSize>>20)
	}
	return string(text), info, nil
}

// parse parses the text of a file. Faults are in the order of the lines.
func parse(file, text string, allow bool) (*list, []fault) {
	l := newList()
	var faults []fault
	n := 0
	for line := range strings.Lines(text) {
		n++
		e, ok, err := parseLine(strings.TrimSuffix(line, "\n"), allow)
		switch {
		case err != nil:
			faults = append(faults, fault{file: file, line: n, err: err})
		case ok:
			e.file, e.line = file, n
			l.add(e)
		}
	}
	return l, faults
}

// fault is a line of a list that is left out because it is invalid.
type fault struct {
	file string
	line int
	err  error
}

// Line returns the file, the number of the line from 1, and what is wrong with it.
func (f fault) Line() (file string, line int, err error) { return f.file, f.line, f.err }

// Error implements error.
func (f fault) Error() string { return fmt.Sprintf("%s:%d: %s", f.file, f.line, f.err) }

// refresh reads the file if it has changed. It waits until a changed file looks the same twice, so that it does not read a
// file that is being written, or that an editor has truncated before writing it.
func (f *file) refresh(now time.Time) {
	info, err := os.Stat(f.name)
	if err != nil {
		f.fail(checks.WithoutCall(err), now)
		return
	}
	previous := f.seen
	f.seen = info
	unchanged := f.state.Load().err == nil && sameContent(info, f.loaded)
	if unchanged || !sameContent(info, previous) {
		return
	}
	if err := f.load(); err != nil {
		f.fail(err, now)
	}
}

// sameContent reports whether two FileInfos are of the same content, as far as they can show.
func sameContent(a, b os.FileInfo) bool {
	return a != nil && b != nil && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}

// fail records that the file cannot be read. The list stays in force. Only the first of several failures is logged.
func (f *file) fail(err error, now time.Time) {
	f.seen = nil
	old := f.state.Load()
	if old.err != nil {
		return
	}
	f.state.Store(&state{list: old.list, faults: old.faults, err: err, since: now})
	f.log.WithError(err).WithField("entries", old.entries).Warn("cannot read an access list, its previous entries stay in force")
}

// condition returns the state of the file for the operator.
func (f *file) condition() checks.Condition {
	s := f.state.Load()
	c := checks.Condition{Name: f.name, State: "on", Since: s.since, Counts: map[string]uint64{
		"entries": uint64(s.entries), "left_out": uint64(len(s.faults)),
	}}
	switch {
	case s.err != nil:
		c.State, c.Why = "old", fmt.Sprintf("cannot be read, the previous entries are in force: %s", s.err)
	case len(s.faults) > 0:
		c.Why = fmt.Sprintf("lines left out: %d, the first is %s", len(s.faults), s.faults[0])
	}
	return c
}

func (c *check) files() []*file { return slices.Concat(c.deny, c.allow) }

// Maintain implements checks.Maintainer. It reads the files that have changed.
func (c *check) Maintain(_ context.Context, now time.Time) {
	for _, f := range c.files() {
		f.refresh(now)
	}
}

// Report implements checks.Maintainer.
func (c *check) Report() []checks.Condition {
	var conditions []checks.Condition
	for _, f := range c.files() {
		conditions = append(conditions, f.condition())
	}
	return conditions
}
