package checks

import "fmt"

// ArgumentError is the error of a command, or of a function for operators, that cannot use its arguments, whatever the store has.
type ArgumentError struct{ Text string }

// BadArgument returns an ArgumentError. Its text says what is wrong with the value and what to write.
func BadArgument(format string, args ...any) error {
	return &ArgumentError{Text: fmt.Sprintf(format, args...)}
}

// Error implements error.
func (e *ArgumentError) Error() string { return e.Text }
