package resolver

import (
	"errors"
	"fmt"

	"milterd/checks"
)

// The causes of errors. If several servers were asked, the cause is that of the last one.
var (
	errTimeout     = errors.New("time-out")
	errTCPTimeout  = fmt.Errorf("%w over TCP", errTimeout)
	errUnreachable = errors.New("server unreachable") // wraps the network error too
	errFormErr     = errors.New("FORMERR")            // response codes, RFC 1035 section 4.1.1
	errServFail    = errors.New("SERVFAIL")
	errNotImp      = errors.New("NOTIMP")
	errRefused     = errors.New("REFUSED")
	errRcode       = errors.New("unexpected response code") // followed by the number
	errMalformed   = errors.New("malformed answer")         // followed by the details
	errReferral    = errors.New("referral instead of an answer: the server is not recursive")
	errChain       = errors.New("CNAME chain is a loop or too long")
	errDeniesAll   = errors.New("the server denies all names")
	errClosed      = errors.New("resolver is closed")
)

// errorOf returns the error of a question. It is printable US-ASCII: names are in master-file form, and no other text comes from
// a server.
func errorOf(q checks.Question, cause error) error { return fmt.Errorf("dns: %s: %w", q, cause) }
