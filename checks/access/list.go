package access

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/gaissmai/bart"

	"milterd/checks"
	"milterd/checks/facts"
)

// Fault is a line that was left out.
type Fault struct {
	file string
	line int // from 1
	err  error
}

// Line is where the fault is, with the number of the line from 1 on, and what is wrong there.
func (f Fault) Line() (file string, line int, err error) { return f.file, f.line, f.err }

// Error implements error.
func (f Fault) Error() string { return fmt.Sprintf("%s:%d: %s", f.file, f.line, f.err) }

// list is the content of one file. It is never changed once made, so any number of sessions read it.
type list struct {
	file     string
	entries  int
	networks bart.Table[entry]
	keys     map[string]entry // in the form of entry.key
	names    bool             // some are host names or .domains
}

// parse reads the text of a file. What is wrong is left out and reported, in the order of the lines.
func parse(file, text string, allow bool) (*list, []Fault) {
	l := &list{file: file, keys: map[string]entry{}}
	var faults []Fault
	line := 0
	for s := range strings.Lines(text) {
		line++
		e, ok, err := parseLine(strings.TrimSuffix(s, "\n"), allow)
		switch {
		case err != nil:
			faults = append(faults, Fault{file, line, err})
		case ok:
			e.line = line
			l.add(e)
		}
	}
	return l, faults
}

// add adds an entry. Of two for the same the one that holds longer counts.
func (l *list) add(e entry) {
	l.entries++
	if e.prefix.IsValid() {
		l.networks.Modify(e.prefix, func(old entry, ok bool) (entry, bool) {
			if ok && old.outlasts(e) {
				return old, false
			}
			return e, false
		})
		return
	}
	if old, ok := l.keys[e.key]; ok && old.outlasts(e) {
		return
	}
	l.keys[e.key] = e
	l.names = l.names || !strings.Contains(e.key, "@")
}

func (e entry) outlasts(other entry) bool {
	return e.until.IsZero() || !other.until.IsZero() && !other.until.After(e.until)
}

// match is the entry that applies, and where it stands.
type match struct {
	entry
	file string
}

// addr finds the narrowest network in force that has the address.
func (l *list) addr(a netip.Addr, now time.Time) (match, bool) {
	a = a.WithZone("")
	if !a.IsValid() {
		return match{}, false
	}
	if e, ok := l.networks.Lookup(a); !ok || e.inForce(now) {
		return match{e, l.file}, ok
	}
	for _, e := range l.networks.Supernets(netip.PrefixFrom(a, a.BitLen())) {
		if e.inForce(now) {
			return match{e, l.file}, true
		}
	}
	return match{}, false
}

func (l *list) key(key string, now time.Time) (match, bool) {
	e, ok := l.keys[key]
	return match{e, l.file}, ok && e.inForce(now)
}

// name finds a host name, or the nearest .domain that it is in. at is what stands before the entries that are meant: nothing,
// or "@" for those about a sender's domain.
func (l *list) name(at, name string, now time.Time) (match, bool) {
	if name == "" {
		return match{}, false
	}
	if m, ok := l.key(at+name, now); ok {
		return m, true
	}
	for more := true; more; _, name, more = strings.Cut(name, ".") {
		if m, ok := l.key(at+"."+name, now); ok {
			return m, true
		}
	}
	return match{}, false
}

// sender finds a reverse-path: the address as it is or without what was added to it (facts.Mailbox), its domain, or its local part
// at any domain. There is no entry for the null reverse-path.
func (l *list) sender(from checks.Address, now time.Time) (match, bool) {
	if from.Local == "" || from.Domain == "" {
		return match{}, false
	}
	locals := []string{strings.ToLower(from.Local)}
	if plain := strings.TrimSuffix(facts.Mailbox(from), "@"+from.Domain); plain != locals[0] {
		locals = append(locals, plain)
	}
	for _, local := range locals {
		if m, ok := l.key(local+"@"+from.Domain, now); ok {
			return m, true
		}
	}
	if m, ok := l.name("@", from.Domain, now); ok {
		return m, true
	}
	for _, local := range locals {
		if m, ok := l.key(local+"@", now); ok {
			return m, true
		}
	}
	return match{}, false
}
