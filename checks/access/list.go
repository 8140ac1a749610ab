package access

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gaissmai/bart"

	"milterd/checks"
	"milterd/checks/facts"
)

// list is the content of one file. It does not change and is safe for concurrent use.
type list struct {
	entries  int
	networks bart.Table[entry]
	keys     map[string]entry // by entry.key
	hasNames bool             // some entries are host names or .domains
}

func newList() *list { return &list{keys: map[string]entry{}} }

// add adds an entry. Of two entries for the same network or key, the one that ends later applies.
func (l *list) add(e entry) {
	l.entries++
	if e.prefix.IsValid() {
		l.networks.Modify(e.prefix, func(old entry, ok bool) (_ entry, del bool) {
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
	l.hasNames = l.hasNames || !strings.Contains(e.key, "@")
}

// outlasts reports whether e does not end before other.
func (e entry) outlasts(other entry) bool {
	return e.until.IsZero() || !other.until.IsZero() && !other.until.After(e.until)
}

// addr returns the entry in force for the smallest network with the address.
func (l *list) addr(a netip.Addr, now time.Time) (entry, bool) {
	a = a.WithZone("")
	if !a.IsValid() {
		return entry{}, false
	}
	for _, e := range l.networks.Supernets(netip.PrefixFrom(a, a.BitLen())) {
		if e.inForce(now) {
			return e, true
		}
	}
	return entry{}, false
}

// key returns the entry in force for a key.
func (l *list) key(key string, now time.Time) (entry, bool) {
	e, ok := l.keys[key]
	return e, ok && e.inForce(now)
}

// name returns the entry for a domain name, or else for the lowest .domain that contains it. at is "" for host names and
// "@" for domains of senders.
func (l *list) name(at, name string, now time.Time) (entry, bool) {
	if name == "" {
		return entry{}, false
	}
	if e, ok := l.key(at+name, now); ok {
		return e, true
	}
	for more := true; more; _, name, more = strings.Cut(name, ".") {
		if e, ok := l.key(at+"."+name, now); ok {
			return e, true
		}
	}
	return entry{}, false
}

// sender returns the entry for a reverse-path: for the address with or without its extension (facts.Mailbox), for its domain,
// or for its local part at any domain. The null reverse-path has none.
func (l *list) sender(from checks.Address, now time.Time) (entry, bool) {
	if from.Local == "" || from.Domain == "" {
		return entry{}, false
	}
	locals := []string{strings.ToLower(from.Local)}
	if plain := strings.TrimSuffix(facts.Mailbox(from), "@"+from.Domain); plain != locals[0] {
		locals = append(locals, plain)
	}
	for _, local := range locals {
		if e, ok := l.key(local+"@"+from.Domain, now); ok {
			return e, true
		}
	}
	if e, ok := l.name("@", from.Domain, now); ok {
		return e, true
	}
	for _, local := range locals {
		if e, ok := l.key(local+"@", now); ok {
			return e, true
		}
	}
	return entry{}, false
}

// lists are several lists. The first that has an entry wins.
type lists []*list

func (ls lists) haveNames() bool {
	return slices.ContainsFunc(ls, func(l *list) bool { return l.hasNames })
}

func (ls lists) addr(a netip.Addr, now time.Time) (entry, bool) {
	return ls.first(func(l *list) (entry, bool) { return l.addr(a, now) })
}

func (ls lists) host(name string, now time.Time) (entry, bool) {
	return ls.first(func(l *list) (entry, bool) { return l.name("", name, now) })
}

func (ls lists) sender(from checks.Address, now time.Time) (entry, bool) {
	return ls.first(func(l *list) (entry, bool) { return l.sender(from, now) })
}

func (ls lists) first(find func(*list) (entry, bool)) (entry, bool) {
	for _, l := range ls {
		if e, ok := find(l); ok {
			return e, true
		}
	}
	return entry{}, false
}
