package access

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"milterd/checks"
)

// The keys of the records. changedKey has a value that is new after each change.
const (
	entryPrefix = "access:entry:"
	changedKey  = "access:changed"
)

// keepFor is how long an entry without an end is kept.
const keepFor = 10 * 365 * 24 * time.Hour

// entryRecord is the record of an entry in the store. Its key has the list and the subject.
type entryRecord struct {
	Since int64  `json:"since"` // Unix seconds
	Until int64  `json:"until,omitempty"`
	Why   string `json:"why,omitempty"`
}

// stored has the entries of the store. They are read again when they have changed, so an entry holds for the next message on all
// hosts. If the store fails, the entries that were read last stay in force. The zero value has read nothing.
type stored struct {
	mu      sync.Mutex // held while the entries are read
	current atomic.Pointer[storedLists]
}

// storedLists are the entries at one time. They do not change.
type storedLists struct {
	changed     string // value of changedKey
	deny, allow *list
}

// refresh reads the entries if they have changed, and returns those in force. An error means that there may be others: nothing was
// read yet, or what was changed could not be read.
func (s *stored) refresh(ctx context.Context, store checks.Store) (*storedLists, error) {
	old := s.current.Load()
	changed, ok, err := store.Get(ctx, changedKey)
	switch {
	case err != nil && old == nil:
		return noEntries(""), err
	case err != nil || old != nil && string(changed) == old.changed:
		return old, nil
	case !ok && old == nil: // there was never an entry; a Scan of a large store takes seconds
		none := noEntries("")
		s.current.Store(none)
		return none, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if read := s.current.Load(); read != nil && read.changed == string(changed) {
		return read, nil // by another session
	}
	fresh := noEntries(string(changed))
	for e, err := range readEntries(ctx, store) {
		if err != nil {
			return cmp.Or(old, noEntries("")), err
		}
		to := fresh.deny
		if e.allow {
			to = fresh.allow
		}
		to.add(e)
	}
	if !ok && fresh.deny.entries+fresh.allow.entries > 0 { // the store lost this record alone
		fresh.changed = "lost"
		_ = store.Put(ctx, changedKey, []byte(fresh.changed), keepFor) // if it fails, the next message reads the entries again
	}
	s.current.Store(fresh)
	return fresh, nil
}

// last returns the entries that were read last, without asking the store.
func (s *stored) last() *storedLists {
	if read := s.current.Load(); read != nil {
		return read
	}
	return noEntries("")
}

func noEntries(changed string) *storedLists {
	return &storedLists{changed: changed, deny: newList(), allow: newList()}
}

// readEntries iterates over the entries of the store. An error is the last element.
func readEntries(ctx context.Context, store checks.Store) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for record, err := range store.Scan(ctx, entryPrefix) {
			if err != nil {
				yield(entry{}, err)
				return
			}
			e, err := decodeEntry(record)
			if err != nil {
				continue // of another version
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func decodeEntry(record checks.Record) (entry, error) {
	list, subject, _ := strings.Cut(strings.TrimPrefix(record.Key, entryPrefix), ":")
	var value entryRecord
	if err := json.Unmarshal(record.Value, &value); err != nil {
		return entry{}, err
	}
	e, err := parseSubject(subject, list == listAllow)
	e.why, e.since = value.Why, value.Since
	if value.Until > 0 {
		e.until = time.Unix(value.Until, 0)
	}
	return e, err
}

// put writes the record of an entry.
func (e entry) put(ctx context.Context, store checks.Store, now time.Time) error {
	value, ttl := entryRecord{Since: e.since, Why: e.why}, keepFor
	if !e.until.IsZero() {
		value.Until, ttl = e.until.Unix(), e.until.Sub(now)
	}
	return checks.PutJSON(ctx, store, e.recordKey(), value, ttl)
}

// recordKey returns the key of the record of an entry.
func (e entry) recordKey() string { return entryPrefix + e.list() + ":" + e.String() }

// The names of the lists in commands.
const (
	listDeny  = "deny"
	listAllow = "allow"
)

// list returns the name of the list that has the entry.
func (e entry) list() string {
	if e.allow {
		return listAllow
	}
	return listDeny
}

// noteChange has all hosts read the entries again.
func noteChange(ctx context.Context, store checks.Store, now time.Time) error {
	return store.Put(ctx, changedKey, fmt.Appendf(nil, "%d", now.UnixNano()), keepFor)
}
