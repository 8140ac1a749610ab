package store

import (
	"errors"
	"fmt"
	"time"

	"milterd/checks"
)

// Status is the state of a store for operators.
type Status struct {
	Driver  string    `json:"driver"`
	Place   string    `json:"place"`             // folder, or address without the password; empty for memory
	OK      bool      `json:"ok"`                // operations work, and changes reach the disk
	Since   time.Time `json:"since"`             // since when operations work, or fail at once
	Error   string    `json:"error"`             // current fault, or else the last failure; empty if there was none
	ErrorAt time.Time `json:"error_at,omitzero"` // time of the last failure
	Errors  uint64    `json:"errors"`            // failures since the start, including those of probes
	Records int64     `json:"records"`           // approximate number of records at the last probe; -1: unknown
	Bytes   int64     `json:"bytes"`             // approximate size on the disk or in memory at the last probe; -1: unknown
}

// healthy returns nil, or why operations fail, or why changes are not on the disk yet.
func (s *Store) healthy() error {
	if err := s.breaker.admit(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := s.driver.degraded(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// Status returns the state of the store. It returns at once: it uses the result of the last probe.
func (s *Store) Status() Status {
	fault := s.healthy()
	b := s.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	st := b.status
	st.Place, st.OK = s.driver.location(), fault == nil
	cause := s.driver.degraded()
	switch {
	case errors.Is(fault, checks.ErrStoreDown) && cause != nil:
		st.Error = cause.Error() // last may be what follows from it
	case errors.Is(fault, checks.ErrStoreDown):
		st.Error = b.last.Error() // without the time of Since
	case fault != nil:
		st.Error = fault.Error()
	case b.last != nil:
		st.Error = b.last.Error()
	}
	return st
}
