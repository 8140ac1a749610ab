package access

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

const (
	// largestFile bounds what is read, in octets: about a million entries.
	largestFile = 64 << 20
	// faultsTold is how many faults of one file are logged each by itself.
	faultsTold = 20
)

// file is a list on disk. Sessions see its content through state alone, so that none of them waits for the disk.
type file struct {
	name  string
	allow bool
	log   *logrus.Entry
	state atomic.Pointer[state]

	// What follows belongs to whoever builds or tends the check.
	loaded fileInfo // of the content in force
	seen   fileInfo // when it was last looked at
}

// state is what is known of a file. It is never changed once made.
type state struct {
	*list
	faults []Fault
	gone   string    // why the file cannot be read; empty if it can. The list is then the last that could be
	since  time.Time // when gone was noticed; zero if the file can be read
}

// fileInfo tells one content of a file from another, as far as one can without reading it.
type fileInfo struct {
	os.FileInfo
}

func (a fileInfo) same(b fileInfo) bool {
	return a.FileInfo != nil && b.FileInfo != nil &&
		a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a.FileInfo, b.FileInfo)
}

// read reads a file. The fileInfo is from before, so that what is written meanwhile is a change.
func read(name string) (string, fileInfo, error) {
	// Stat before Open: to open a pipe would wait for its other end.
	info, err := os.Stat(name)
	if err != nil {
		return "", fileInfo{}, err
	}
	if !info.Mode().IsRegular() {
		return "", fileInfo{}, fmt.Errorf("%s is no regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fileInfo{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	switch {
	case err != nil:
		return "", fileInfo{}, err
	case len(text) > largestFile:
		return "", fileInfo{}, fmt.Errorf("%s is larger than %d MiB", name, largestFile>>20)
	}
	return string(text), fileInfo{info}, nil
}

// open reads a file for the first time.
func open(name string, allow bool, log *logrus.Entry) (*file, error) {
	f := &file{name: name, allow: allow, log: log.WithField("file", name)}
	if err := f.load(); err != nil {
		return nil, fmt.Errorf("cannot read the list: %w", err)
	}
	return f, nil
}

// load puts what the file has into force, and tells what was left out.
func (f *file) load() error {
	text, info, err := read(f.name)
	if err != nil {
		return err
	}
	l, faults := parse(f.name, text, f.allow)
	f.loaded, f.seen = info, info
	f.state.Store(&state{list: l, faults: faults})
	for i, fault := range faults {
		if i == faultsTold {
			f.log.WithField("more", len(faults)-i).Warn("more lines of an access list were left out")
			break
		}
		f.log.WithField("line", fault.line).WithError(fault.err).Warn("a line of an access list was left out")
	}
	f.log.WithFields(logrus.Fields{"entries": l.entries, "left_out": len(faults)}).Info("read an access list")
	return nil
}

// refresh reads a file that has changed. A change counts when it looks the same twice, so that a file is not read while it is
// being written, and a list that an editor empties before it writes it anew is never empty here.
func (f *file) refresh(now time.Time) {
	info, err := os.Stat(f.name)
	if err != nil {
		f.lost(err, now)
		return
	}
	was := f.seen
	f.seen = fileInfo{info}
	if f.state.Load().gone == "" && f.seen.same(f.loaded) || !f.seen.same(was) {
		return
	}
	if err := f.load(); err != nil {
		f.lost(err, now)
	}
}

// lost notes that the file cannot be read. What was read last stays in force.
func (f *file) lost(err error, now time.Time) {
	f.seen = fileInfo{}
	old := f.state.Load()
	if old.gone != "" {
		return // told already
	}
	kept := *old
	kept.gone, kept.since = err.Error(), now
	f.state.Store(&kept)
	f.log.WithError(err).WithField("entries", kept.entries).Warn("an access list cannot be read, its last content stays in force")
}

// condition is for the operator.
func (f *file) condition() checks.Condition {
	s := f.state.Load()
	c := checks.Condition{Name: f.name, State: "on", Since: s.since, Counts: map[string]uint64{
		"entries": uint64(s.entries), "left_out": uint64(len(s.faults)),
	}}
	switch {
	case s.gone != "":
		c.State, c.Why = "old", "it cannot be read, its last content is in force: "+s.gone
	case len(s.faults) > 0:
		c.Why = fmt.Sprintf("lines left out: %d, the first is %s", len(s.faults), s.faults[0].Error())
	}
	return c
}

// Maintain implements checks.Maintainer: it reads the files that have changed.
func (c *check) Maintain(_ context.Context, now time.Time) {
	for _, f := range c.files() {
		f.refresh(now)
	}
}

// Report implements checks.Maintainer.
func (c *check) Report() []checks.Condition {
	var out []checks.Condition
	for _, f := range c.files() {
		out = append(out, f.condition())
	}
	return out
}

// RelativeTo has names of files that are relative begin at a folder.
func (c *Settings) RelativeTo(folder string) {
	for _, names := range []*[]string{&c.Deny, &c.Allow} {
		*names = slices.Clone(*names)
		for i, name := range *names {
			if name != "" && !filepath.IsAbs(name) {
				(*names)[i] = filepath.Join(folder, name)
			}
		}
	}
}

// Faults reads the files and lists what is wrong with them: lines that would be left out, as Faults, and files that cannot be read.
// It is for whoever wants to know before the check is made.
func (c Settings) Faults() []error {
	var out []error
	for _, names := range []struct {
		files []string
		allow bool
	}{{c.Deny, false}, {c.Allow, true}} {
		for i, name := range names.files {
			if name == "" || slices.Contains(names.files[:i], name) {
				continue // Validate has said so
			}
			text, _, err := read(name)
			if err != nil {
				out = append(out, err)
				continue
			}
			_, faults := parse(name, text, names.allow)
			for _, f := range faults {
				out = append(out, f)
			}
		}
	}
	return out
}
