package store

import "milterd/milter/store/status"

// Status is the state of a store for operators.
type Status = status.Store

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
