package store

import "time"

// Status is the state of a store for operators.
type Status struct {
	Driver  string    `json:"driver"`
	Place   string    `json:"place"`             // folder, or address without the password; empty for memory
	OK      bool      `json:"ok"`                // operations work, and changes reach the disk
	Since   time.Time `json:"since"`             // since when OK is as it is
	Error   string    `json:"error"`             // current fault, or else the last failure; empty if there was none
	ErrorAt time.Time `json:"error_at,omitzero"` // time of the last failure
	Errors  uint64    `json:"errors"`            // failures since the start, including those of probes
	Records int64     `json:"records"`           // approximate number of records at the last probe; -1: unknown
	Bytes   int64     `json:"bytes"`             // approximate size on the disk or in memory at the last probe; -1: unknown
}

// Status returns the state of the store. It returns at once: it uses the result of the last probe.
func (s *Store) Status() Status {
	degraded := s.driver.degraded()
	b := s.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	st := b.status
	st.Place, st.OK = s.driver.location(), !b.closed && b.down == nil && degraded == nil
	switch {
	case b.closed:
		st.Error = errClosed.Error()
	case degraded != nil:
		st.Error = degraded.Error() // last may be what follows from it
	case b.last != nil:
		st.Error = b.last.Error()
	}
	return st
}
