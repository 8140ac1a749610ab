package resolver

import (
	"errors"

	"milterd/checks"
)

// Why a question has no answer, to be found in the errors of Lookup with errors.Is. If several servers were asked, it is
// what the last one said.
var (
	ErrTimeout     = errors.New("time-out")
	ErrUnreachable = errors.New("server unreachable") // with the error of the network
	ErrFormErr     = errors.New("FORMERR")            // RFC 1035 section 4.1.1, as the next three
	ErrServFail    = errors.New("SERVFAIL")
	ErrNotImp      = errors.New("NOTIMP")
	ErrRefused     = errors.New("REFUSED")
	ErrRcode       = errors.New("unexpected response code") // with its number
	ErrMalformed   = errors.New("malformed answer")         // with what is wrong with it
	ErrReferral    = errors.New("referral instead of an answer: the server is not recursive")
	ErrChain       = errors.New("CNAME chain is a loop or too long")
	ErrClosed      = errors.New("resolver is closed")
)

// Error is a question without an answer.
type Error struct {
	Question checks.Question
	Server   string // asked last, "address:port"; empty if the failure is not that of one server
	Err      error  // wraps one of the errors above
}

// Error is in printable US-ASCII: names are in master-file form, and no other text is the server's.
func (e *Error) Error() string {
	if e.Server == "" {
		return "dns: " + e.Question.String() + ": " + e.Err.Error()
	}
	return "dns: " + e.Question.String() + " at " + e.Server + ": " + e.Err.Error()
}

// Unwrap is for errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }
