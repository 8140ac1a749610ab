package storetest

import (
	"context"
	"testing"
	"time"

	"milterd/checks"
)

// suite is a running test with its store.
type suite struct {
	*testing.T
	Setup
	store checks.Store
	ctx   context.Context
}

// must ends the test if there is an error.
func (s suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s suite) put(key, value string, ttl time.Duration) {
	s.Helper()
	s.must(s.store.Put(s.ctx, key, []byte(value), ttl))
}

// want fails the test if Get does not return value.
func (s suite) want(key, value string) {
	s.Helper()
	got, ok, err := s.store.Get(s.ctx, key)
	if err != nil || !ok || string(got) != value {
		s.Errorf("get %.40q: got %.40q, %t, %v, want %.40q", key, got, ok, err, value)
	}
}

// wantNone fails the test if Get returns a record.
func (s suite) wantNone(key string) {
	s.Helper()
	if got, ok, err := s.store.Get(s.ctx, key); err != nil || ok || got != nil {
		s.Errorf("get %.40q: got %.40q, %t, %v, want none", key, got, ok, err)
	}
}

// wantNew fails the test if PutNew does not report want.
func (s suite) wantNew(key, value string, ttl time.Duration, want bool) {
	s.Helper()
	if stored, err := s.store.PutNew(s.ctx, key, []byte(value), ttl); err != nil || stored != want {
		s.Errorf("put new %.40q: got %t, %v, want %t", key, stored, err, want)
	}
}

// wantSum fails the test if Add does not return want.
func (s suite) wantSum(key string, n int64, ttl time.Duration, want int64) {
	s.Helper()
	if total, err := s.store.Add(s.ctx, key, n, ttl); err != nil || total != want {
		s.Errorf("add %d to %q: got %d, %v, want %d", n, key, total, err, want)
	}
}

// expires fails the test if a record does not expire short after since.
func (s suite) expires(key string, since time.Time) {
	s.Helper()
	if s.Advance != nil {
		s.Advance(short - time.Millisecond)
		if _, ok, err := s.store.Get(s.ctx, key); err != nil || !ok {
			s.Errorf("%q expired a millisecond too early, or %v", key, err)
		}
		s.Advance(time.Millisecond)
		s.wantNone(key)
		return
	}
	for {
		_, ok, err := s.store.Get(s.ctx, key)
		s.must(err)
		lived := s.Now().Sub(since)
		switch {
		case !ok && lived < short:
			s.Errorf("%q expired after %v", key, lived)
			return
		case !ok:
			return
		case lived > maxWait:
			s.Fatalf("%q does not expire", key)
		}
	}
}
