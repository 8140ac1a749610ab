package checks

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/sirupsen/logrus"
)

// PanicError is the error of a function that panicked.
type PanicError struct {
	Value any
	Stack []byte
}

// Error implements error.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Protect returns the error of f, or a PanicError if f panics: a bug must neither refuse mail nor end the daemon. A goroutine that a
// check starts needs a Protect of its own.
func Protect(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}

// contain calls f and logs its panic. It is for the methods of a check that return no error.
func contain(f func()) {
	err := Protect(func() error { f(); return nil })
	if p, ok := errors.AsType[*PanicError](err); ok {
		logrus.WithField("stack", string(p.Stack)).Errorf("check panicked: %v", p.Value)
	}
}
