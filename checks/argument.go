package checks

import "fmt"

// ArgumentError is the error of arguments that a command, or a function for operators, cannot use.
type ArgumentError struct{ Text string }

// BadArgument returns an ArgumentError. Its text says what is wrong with the value and what to write.
func BadArgument(format string, args ...any) error {
	return &ArgumentError{Text: fmt.Sprintf(format, args...)}
}

// Error implements error.
func (e *ArgumentError) Error() string { return e.Text }
