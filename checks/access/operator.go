package access

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
)

// Entry is an entry of a list, for operators.
type Entry struct {
	List  string    `json:"list"` // deny or allow
	Entry string    `json:"entry"`
	Since time.Time `json:"since,omitzero"` // zero: unknown
	Until time.Time `json:"until,omitzero"` // zero: no end
	Why   string    `json:"why"`
	File  string    `json:"file,omitempty"` // empty: the entry is in the store
	Line  int       `json:"line,omitempty"`
}

// Network returns the network of the entry, or the zero value if it is a name or an address of a sender.
func (e Entry) Network() netip.Prefix {
	var parsed entry
	if parsed.setSubject(e.Entry) != nil {
		return netip.Prefix{}
	}
	return parsed.prefix
}

func (e entry) describe() Entry {
	d := Entry{List: e.list(), Entry: e.String(), Until: e.until, Why: e.why, File: e.file, Line: e.line}
	if e.since > 0 {
		d.Since = time.Unix(e.since, 0)
	}
	return d
}

// Parse returns an entry with the subject as lists keep it: a network, address, host name, .domain, user@domain, user@, @domain or
// @.domain.
func Parse(subject string, allow bool) (Entry, error) {
	e, err := parseSubject(strings.TrimSpace(subject), allow)
	if err != nil {
		return Entry{}, checks.BadArgument("%s", err)
	}
	return e.describe(), nil
}

// maxWhy is the length of the reason of an entry in bytes. It is part of a reply.
const maxWhy = 200

// Add adds an entry to its list in the store, in the place of one with the same subject, and returns it as lists keep it. It uses List,
// Entry, Until and Why.
func Add(ctx context.Context, store checks.Store, now time.Time, add Entry) (Entry, error) {
	e, err := parseSubject(strings.TrimSpace(add.Entry), add.List == listAllow)
	if err != nil {
		return Entry{}, checks.BadArgument("%s", err)
	}
	e.since, e.until, e.why = now.Unix(), add.Until, checks.Clean(add.Why, maxWhy)
	if !e.inForce(now.Add(time.Second)) {
		return Entry{}, checks.BadArgument("the entry would end at %s, which has passed", e.until.Format("2006-01-02 15:04"))
	}
	if err := e.put(ctx, store, now); err != nil {
		return Entry{}, err
	}
	return e.describe(), noteChange(ctx, store, now)
}

// List returns the entries of the store, by list and subject.
func List(ctx context.Context, store checks.Store, now time.Time) ([]Entry, error) {
	list := []Entry{} // [] in JSON
	for e, err := range readEntries(ctx, store) {
		if err != nil {
			return nil, err
		}
		if e.inForce(now) {
			list = append(list, e.describe())
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Or(cmp.Compare(a.List, b.List), cmp.Compare(a.Entry, b.Entry)) })
	return list, nil
}

// Select returns the entries of the store that Remove removes for a subject: those with the subject, or if it is a network without
// an entry, those in it.
func Select(ctx context.Context, store checks.Store, now time.Time, subject string) ([]Entry, error) {
	want, err := Parse(subject, false)
	if err != nil {
		return nil, err
	}
	all, err := List(ctx, store, now)
	if err != nil {
		return nil, err
	}
	if same := slices.DeleteFunc(slices.Clone(all), func(e Entry) bool { return e.Entry != want.Entry }); len(same) > 0 {
		return same, nil
	}
	network := want.Network()
	return slices.DeleteFunc(all, func(e Entry) bool {
		n := e.Network()
		return !network.IsValid() || !n.IsValid() || network.Bits() > n.Bits() || !network.Contains(n.Addr())
	}), nil
}

// Remove removes entries from the store.
func Remove(ctx context.Context, store checks.Store, now time.Time, entries []Entry) error {
	for _, d := range entries {
		e, err := parseSubject(d.Entry, d.List == listAllow)
		if err != nil {
			return err
		}
		if err := store.Delete(ctx, e.recordKey()); err != nil {
			return err
		}
	}
	return noteChange(ctx, store, now)
}

// Looker is implemented by the check.
type Looker interface {
	// Look returns the entries in force, of files and of the store, that cover an address, a network, a host name or an address of a
	// sender.
	Look(ctx context.Context, now time.Time, subject string) []Entry
	// FileEntries returns the entries of the files that are in force, by file and line: at most that many.
	FileEntries(now time.Time, most int) []Entry
}

var _ Looker = (*check)(nil)

// Look implements Looker.
func (c *check) Look(ctx context.Context, now time.Time, subject string) (found []Entry) {
	var e entry
	if e.setSubject(strings.TrimSpace(subject)) != nil {
		return nil
	}
	inStore, _ := c.stored.refresh(ctx, c.env.Store) // with the entries that are known
	deny, allow := c.lists(inStore)
	for _, l := range slices.Concat(allow, deny) {
		for _, covering := range l.covering(e, now) {
			found = append(found, covering.describe())
		}
	}
	return found
}

// FileEntries implements Looker.
func (c *check) FileEntries(now time.Time, most int) (found []Entry) {
	for _, l := range append(current(c.allow), current(c.deny)...) {
		entries := slices.Collect(maps.Values(l.keys))
		for _, e := range l.networks.All() {
			entries = append(entries, e)
		}
		entries = slices.DeleteFunc(entries, func(e entry) bool { return !e.inForce(now) })
		slices.SortFunc(entries, func(a, b entry) int { return a.line - b.line })
		for _, e := range entries[:min(len(entries), most-len(found))] {
			found = append(found, e.describe())
		}
	}
	return found
}

// covering returns the entries in force for a network, a host name or an address of a sender.
func (l *list) covering(e entry, now time.Time) (found []entry) {
	add := func(e entry, ok bool) {
		if ok {
			found = append(found, e)
		}
	}
	switch {
	case e.prefix.IsValid():
		for _, wider := range l.networks.Supernets(e.prefix) {
			add(wider, wider.inForce(now))
		}
	case strings.Contains(e.key, "@") && !strings.HasPrefix(e.key, "@"):
		add(l.sender(checks.ParseAddress(e.String()), now))
	default:
		name := strings.TrimPrefix(strings.TrimPrefix(e.key, "@"), ".")
		add(l.name("", name, now))
		add(l.name("@", name, now))
	}
	return found
}
