// Package overlay has a store that reads from another one and keeps to itself what is written. A simulation with the state of the running
// daemon uses it, so that it changes nothing.
package overlay

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	"milterd/checks"
)

// store implements checks.Store.
type store struct {
	checks.Store // below
	mu           sync.Mutex
	written      map[string]*checks.Record // nil: deleted
}

// New returns a store above another one, which does not change. It is safe for concurrent use.
func New(below checks.Store) checks.Store {
	return &store{Store: below, written: map[string]*checks.Record{}}
}

// get returns a record. The caller holds mu.
func (s *store) get(ctx context.Context, key string) ([]byte, bool, error) {
	if r, ok := s.written[key]; ok {
		if r == nil {
			return nil, false, nil
		}
		return r.Value, true, nil
	}
	return s.Store.Get(ctx, key)
}

func (s *store) put(key string, value []byte, ttl time.Duration) {
	s.written[key] = &checks.Record{Key: key, Value: value, Expires: time.Now().Add(ttl)}
}

// Get implements checks.Store.
func (s *store) Get(ctx context.Context, key string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(ctx, key)
}

// Put implements checks.Store.
func (s *store) Put(_ context.Context, key string, value []byte, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(key, value, ttl)
	return nil
}

// PutNew implements checks.Store.
func (s *store) PutNew(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok, err := s.get(ctx, key)
	if ok || err != nil {
		return false, err
	}
	s.put(key, value, ttl)
	return true, nil
}

// Add implements checks.Store.
func (s *store) Add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok, err := s.get(ctx, key)
	if err != nil {
		return 0, err
	}
	if ok {
		old, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s is no counter", key)
		}
		n += old
	}
	s.put(key, strconv.AppendInt(nil, n, 10), ttl)
	return n, nil
}

// Delete implements checks.Store.
func (s *store) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written[key] = nil
	return nil
}

// Scan implements checks.Store.
func (s *store) Scan(ctx context.Context, prefix string) iter.Seq2[checks.Record, error] {
	s.mu.Lock()
	own := map[string]*checks.Record{}
	for key, r := range s.written {
		if strings.HasPrefix(key, prefix) {
			own[key] = r
		}
	}
	s.mu.Unlock()
	return func(yield func(checks.Record, error) bool) {
		for r, err := range s.Store.Scan(ctx, prefix) {
			if _, ok := own[r.Key]; ok && err == nil {
				continue
			}
			if !yield(r, err) {
				return
			}
		}
		for _, r := range own {
			if r != nil && !yield(*r, nil) {
				return
			}
		}
	}
}
