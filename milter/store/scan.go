package store

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"milterd/checks"
)

// pageSize is how many records a page of Scan has, about.
const pageSize = 500

// scan yields what is not written yet, then the database. What is written meanwhile is in the database at its key, where
// the later pages find it, if they are not past it.
func (e *embedded) scan(prefix string) func(context.Context) ([]checks.Record, bool, error) {
	var unwritten map[string]change
	at := []byte(prefix)
	return func(ctx context.Context) ([]checks.Record, bool, error) {
		if unwritten == nil {
			unwritten = e.unwrittenBelow(prefix)
			return e.pageOf(unwritten), true, nil
		}
		p, err := ask(ctx, e, func(db *pebble.DB) (page, error) {
			p := page{prefix: []byte(prefix), at: at, clock: &e.ownClock}
			return p, p.fill(db)
		})
		if err != nil {
			return nil, false, err
		}
		at = p.at
		records := slices.DeleteFunc(p.records, func(r checks.Record) bool {
			_, seen := unwritten[r.Key]
			return seen
		})
		return records, at != nil, nil
	}
}

// unwrittenBelow copies the changes of the keys with a prefix that are not in the database yet.
func (e *embedded) unwrittenBelow(prefix string) map[string]change {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := map[string]change{}
	for _, g := range []group{e.writing, e.waiting} { // the later one wins
		for key, c := range g.changes {
			if strings.HasPrefix(key, prefix) {
				found[key] = c
			}
		}
	}
	return found
}

// pageOf lists the records among changes.
func (e *embedded) pageOf(changes map[string]change) []checks.Record {
	now := e.now().UnixMilli()
	var records []checks.Record
	for _, key := range slices.Sorted(maps.Keys(changes)) {
		if c := changes[key]; c.expires > now {
			records = append(records, checks.Record{Key: key, Value: bytes.Clone(c.value), Expires: e.shown(c.expires)})
		}
	}
	return records
}

// page is a part of a scan of the database.
type page struct {
	prefix  []byte
	at      []byte // where to begin, and then where the next page begins; nil: there is none
	clock   *ownClock
	records []checks.Record
}

// fill reads a page.
func (p *page) fill(db *pebble.DB) error {
	it, err := db.NewIter(from(p.at))
	if err != nil {
		return err
	}
	defer it.Close()
	p.at = nil
	n, now := 0, p.clock.now().UnixMilli()
	for it.First(); it.Valid() && bytes.HasPrefix(it.Key(), p.prefix); it.Next() {
		if n++; n > pageSize {
			p.at = bytes.Clone(it.Key())
			break
		}
		raw, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if value, expires, ok := decode(raw); ok && expires > now && string(it.Key()) != clockKey {
			p.records = append(p.records, checks.Record{
				Key: string(it.Key()), Value: append([]byte{}, value...), Expires: p.clock.shown(expires),
			})
		}
	}
	return it.Error()
}

// from is for going through all keys that are not below one.
func from(key []byte) *pebble.IterOptions {
	if len(key) == 0 {
		return nil // the library cannot take an empty bound
	}
	return &pebble.IterOptions{LowerBound: key}
}
