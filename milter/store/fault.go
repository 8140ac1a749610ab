package store

import "sync/atomic"

// fault is an error that holds until it is cleared. It is safe for concurrent use. The zero value is no error.
type fault struct{ err atomic.Pointer[error] }

func (f *fault) get() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// set sets the error unless there is one, and reports whether it did.
func (f *fault) set(err error) bool { return f.err.CompareAndSwap(nil, &err) }

func (f *fault) clear() { f.err.Store(nil) }
