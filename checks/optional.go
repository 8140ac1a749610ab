package checks

import (
	"context"
	"time"
)

// Prefetcher is implemented by a Check that knows its DNS questions before it runs. Prefetch is called at Connect, Helo,
// MailFrom and EndOfHeader, see r.Stage. It must be pure: the same session gives the same questions. At EndOfHeader it is
// called for every message. At the earlier stages, calls about the same client, HELO name and reverse-path are about twenty seconds
// apart.
type Prefetcher interface {
	Prefetch(r *Request) []Query
}

// Observer is implemented by a Check that needs to know the results of sessions, including those of trusted clients and
// exempt recipients. A check that runs for no recipient, as its reasons are off, receives no events. Observe runs in the session's
// goroutine before the MTA receives the reply, so it must be quick. It must not change the session. The stage of the event is in
// Event.Stage, not in r.Stage.
type Observer interface {
	Observe(ctx context.Context, r *Request, e Event)
}

// Event is a refusal by milterd, or something that the MTA reported.
type Event struct {
	Kind   EventKind
	Stage  Stage    // if Refused: RcptTo, MailFrom or EndOfMessage
	Reason *Reason  // if Refused
	Reply  Reply    // if Refused
	Reset  Envelope // if Reset: the abandoned transaction
}

// EventKind is the kind of an Event.
type EventKind uint8

// The events.
const (
	Refused      EventKind = iota // milterd refused: at RcptTo the last recipient, at MailFrom and EndOfMessage the transaction
	BadRecipient                  // the MTA refused the last recipient; Recipient.Refused has its enhanced status code
	Accepted                      // the end of a message that milterd lets in
	Reset                         // the client abandoned a transaction with RSET and began another
	Disconnected                  // the end of the connection
)

// Maintainer is implemented by a Check that depends on something outside, such as DNSBL zones or files.
type Maintainer interface {
	// Maintain does the work that is due, such as testing a zone. It is called before the first session and every few
	// seconds from then on, never twice at the same time. It returns when the work is done, or soon after ctx is. now is
	// the time as in Session.Time.
	Maintain(ctx context.Context, now time.Time)
	// Report returns the state of what the check depends on. It must be quick. It may be called during Maintain.
	Report() []Condition
}

// Condition is the state of something outside that a check depends on.
type Condition struct {
	Check  string            `json:"check"` // name of the check; set by the Pipeline
	Name   string            `json:"name"`
	State  string            `json:"state"`          // one word, such as "on"
	Since  time.Time         `json:"since"`          // of the state; zero: since the start
	Why    string            `json:"why"`            // a sentence, if the state is not as it should be
	Note   string            `json:"note,omitempty"` // what else the operator may want to know
	Counts map[string]uint64 `json:"counts,omitempty"`
}

// Reloader is implemented by a Check that keeps state which survives a change of the configuration. Reload is called before
// the first session and the first Maintain. old is the check of the same name in the former configuration, which is still
// in use.
type Reloader interface {
	Reload(old Check)
}

// Authenticator is implemented by a Check whose results go into the trace fields of accepted messages.
type Authenticator interface {
	// Authenticate returns results for the current transaction. It may ask the DNS again for what failed before.
	Authenticate(ctx context.Context, r *Request) []Authentication
}

// Authentication is the result of one method of message authentication, RFC 8601 section 2.2.
type Authentication struct {
	Method     string     // as registered with IANA: "spf", "iprev"
	Result     string     // such as "pass"
	Comment    string     // why the result is not pass; printable US-ASCII, may be empty
	Properties []Property // in the order of the field
}

// Property is a property of a result, RFC 8601 section 2.3.
type Property struct {
	Name  string // with its type: "smtp.mailfrom"
	Value string // remote bytes; empty if it is not known
}
