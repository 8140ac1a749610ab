package resolver

import (
	"errors"

	"milterd/checks"
)

// Errors of Lookup, for errors.Is. If several servers were asked, the error is that of the last one.
var (
	ErrTimeout     = errors.New("time-out")
	ErrUnreachable = errors.New("server unreachable") // wraps the network error too
	ErrFormErr     = errors.New("FORMERR")            // response codes, RFC 1035 section 4.1.1
	ErrServFail    = errors.New("SERVFAIL")
	ErrNotImp      = errors.New("NOTIMP")
	ErrRefused     = errors.New("REFUSED")
	ErrRcode       = errors.New("unexpected response code") // followed by the number
	ErrMalformed   = errors.New("malformed answer")         // followed by the details
	ErrReferral    = errors.New("referral instead of an answer: the server is not recursive")
	ErrChain       = errors.New("CNAME chain is a loop or too long")
	ErrClosed      = errors.New("resolver is closed")
)

// Error is the failure of a question.
type Error struct {
	Question checks.Question
	Server   string // last server asked, "address:port"; empty if the failure is not that of a server
	Err      error  // wraps one of the errors above
}

// Error returns printable US-ASCII: names are in master-file form, and no other text comes from a server.
func (e *Error) Error() string {
	if e.Server == "" {
		return "dns: " + e.Question.String() + ": " + e.Err.Error()
	}
	return "dns: " + e.Question.String() + " at " + e.Server + ": " + e.Err.Error()
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }
