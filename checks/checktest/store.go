package checktest

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"milterd/checks"
)

// Store is a checks.Store in memory, with the clock of the test. NewStore returns one. It is safe for concurrent use. The number of
// records is not limited.
type Store struct {
	now func() time.Time

	mu      sync.Mutex
	fail    error
	records map[string]checks.Record // including expired ones, until they are read
}

var _ checks.Store = (*Store)(nil)

// NewStore returns an empty store. now is its clock; nil is a clock that stands still at Now.
func NewStore(now func() time.Time) *Store {
	if now == nil {
		now = func() time.Time { return Now }
	}
	return &Store{now: now, records: map[string]checks.Record{}}
}

// Fail makes every method return err and do nothing, until it is called with nil.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// Get implements checks.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse(ctx, key, nil); err != nil {
		return nil, false, err
	}
	r, ok := s.live(key)
	return bytes.Clone(r.Value), ok, nil
}

// Put implements checks.Store.
func (s *Store) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse(ctx, key, value); err != nil {
		return err
	}
	s.set(key, value, ttl)
	return nil
}

// PutNew implements checks.Store.
func (s *Store) PutNew(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse(ctx, key, value); err != nil {
		return false, err
	}
	if _, ok := s.live(key); ok {
		return false, nil
	}
	s.set(key, value, ttl)
	return true, nil
}

// Add implements checks.Store.
func (s *Store) Add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse(ctx, key, nil); err != nil {
		return 0, err
	}
	r, ok := s.live(key)
	if !ok {
		s.set(key, strconv.AppendInt(nil, n, 10), ttl)
		return n, nil
	}
	old, err := strconv.ParseInt(string(r.Value), 10, 64)
	if err != nil || strconv.FormatInt(old, 10) != string(r.Value) {
		return 0, fmt.Errorf("checktest: %q is not a counter", key)
	}
	if n > 0 && old > math.MaxInt64-n || n < 0 && old < math.MinInt64-n {
		return 0, fmt.Errorf("checktest: counter %q overflows", key)
	}
	r.Value = strconv.AppendInt(nil, old+n, 10)
	s.records[key] = r
	return old + n, nil
}

// Delete implements checks.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse(ctx, key, nil); err != nil {
		return err
	}
	delete(s.records, key)
	return nil
}

// Scan implements checks.Store. It iterates over the records at the time of the call, sorted by key.
func (s *Store) Scan(ctx context.Context, prefix string) iter.Seq2[checks.Record, error] {
	return func(yield func(checks.Record, error) bool) {
		found, err := s.snapshot(ctx, prefix)
		for _, r := range found {
			if !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(checks.Record{}, err)
		}
	}
}

// snapshot returns copies of the records whose keys begin with prefix. The loop over them may use the store.
func (s *Store) snapshot(ctx context.Context, prefix string) ([]checks.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse(ctx, prefix, nil); err != nil {
		return nil, err
	}
	var found []checks.Record
	for key := range s.records {
		if r, ok := s.live(key); ok && strings.HasPrefix(key, prefix) {
			r.Value = bytes.Clone(r.Value)
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b checks.Record) int { return strings.Compare(a.Key, b.Key) })
	return found, nil
}

// refuse returns why an operation fails, or nil.
func (s *Store) refuse(ctx context.Context, key string, value []byte) error {
	switch {
	case s.fail != nil:
		return s.fail
	case len(key) > checks.MaxKey || len(value) > checks.MaxValue:
		return fmt.Errorf("checktest: too long: key of %d bytes, value of %d", len(key), len(value))
	}
	return ctx.Err()
}

// live returns a record that has not expired.
func (s *Store) live(key string) (checks.Record, bool) {
	r, ok := s.records[key]
	if ok && !s.now().Before(r.Expires) {
		delete(s.records, key)
		return checks.Record{}, false
	}
	return r, ok
}

// set writes a record. Without time to live it expires at once.
func (s *Store) set(key string, value []byte, ttl time.Duration) {
	if ttl <= 0 {
		delete(s.records, key)
		return
	}
	// An empty value is not nil, as in the real stores.
	s.records[key] = checks.Record{Key: key, Value: append([]byte{}, value...), Expires: s.now().Add(ttl)}
}
