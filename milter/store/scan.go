package store

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"milterd/checks"
)

// pageSize is the number of records in a page of Scan, approximately.
const pageSize = 500

// scan returns the records of the buffer as the first page, then those of the database. Changes that are written
// meanwhile appear in the database, unless the scan has passed their keys.
func (e *embedded) scan(prefix string) func(context.Context) ([]checks.Record, bool, error) {
	var unwritten map[string]change
	start := []byte(prefix)
	return func(ctx context.Context) ([]checks.Record, bool, error) {
		if unwritten == nil {
			unwritten = e.buffer.withPrefix(prefix)
			return e.unwrittenRecords(unwritten), true, nil
		}
		p, err := query(ctx, e, func(db *pebble.DB) (page, error) { return readPage(db, e.clock, []byte(prefix), start) })
		if err != nil {
			return nil, false, err
		}
		start = p.next
		records := slices.DeleteFunc(p.records, func(r checks.Record) bool {
			_, returned := unwritten[r.Key]
			return returned
		})
		return records, start != nil, nil
	}
}

// unwrittenRecords returns the records among changes.
func (e *embedded) unwrittenRecords(changes map[string]change) []checks.Record {
	now := e.clock.now()
	var records []checks.Record
	for _, key := range slices.Sorted(maps.Keys(changes)) {
		if c := changes[key]; c.deadline > now {
			records = append(records, checks.Record{
				Key: key, Value: bytes.Clone(c.value), Expires: e.clock.wallTime(c.deadline),
			})
		}
	}
	return records
}

// page is a part of a scan of the database.
type page struct {
	records []checks.Record
	next    []byte // first key of the next page; nil: this is the last
}

// readPage reads the page of keys with prefix that begins at start.
func readPage(db *pebble.DB, clock *recordClock, prefix, start []byte) (page, error) {
	var p page
	it, err := db.NewIter(fromKey(start))
	if err != nil {
		return p, err
	}
	defer it.Close()
	n, now := 0, clock.now()
	for it.First(); it.Valid() && bytes.HasPrefix(it.Key(), prefix); it.Next() {
		if n++; n > pageSize {
			p.next = bytes.Clone(it.Key())
			break
		}
		raw, err := it.ValueAndErr()
		if err != nil {
			return p, err
		}
		if value, deadline, ok := decode(raw); ok && deadline > now && !isReserved(string(it.Key())) {
			p.records = append(p.records, checks.Record{
				Key: string(it.Key()), Value: append([]byte{}, value...), Expires: clock.wallTime(deadline),
			})
		}
	}
	return p, it.Error()
}

// fromKey returns the options of an iterator over key and all keys after it.
func fromKey(key []byte) *pebble.IterOptions {
	if len(key) == 0 {
		return nil // the library does not accept an empty bound
	}
	return &pebble.IterOptions{LowerBound: key}
}
