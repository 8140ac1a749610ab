// Package checks is the vocabulary of milterd and the Pipeline that runs it: a Session is what the MTA has told us, a
// Check answers one question about it with Verdicts, a Verdict points to the Reason that explains it, and the Pipeline
// decides by the operator's policy what is answered.
//
// Words are those of the field: RFC 5321 for SMTP, RFC 5598 for roles, RFC 3463 for enhanced status codes, RFC 8601 for
// results.
package checks

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"
)

// Check answers one question about a session. It is safe for concurrent use by many sessions, each in one goroutine.
//
// It returns every verdict that applies, most serious first: a watched reason must not hide an enforced one. None
// passes. An error means "could not find out" and never refuses by itself; verdicts beside an error count.
type Check interface {
	Check(ctx context.Context, s *Session) ([]Verdict, error)
}

// Prefetcher is an optional part of a Check: the DNS questions it will ask, as soon as it can know them. It is called
// at the beginning of Connect, Helo and MailFrom (s.Stage says which), must be pure, and may be called again.
type Prefetcher interface {
	Prefetch(s *Session) []Ahead
}

// Observer is an optional part of a Check: it is told what became of a session, also of one that is trusted, and of
// recipients that are exempt. It runs in the session's goroutine before the MTA gets its answer, so it must be quick; it
// must not change the session.
type Observer interface {
	Observe(ctx context.Context, s *Session, e Event)
}

// Tender is an optional part of a Check: what it does beside the sessions, such as testing the lists that it asks. Tend is called
// before the first session and every few seconds from then on, never twice at the same time, and returns when what was due
// is done, or soon after the context is. now is the time by which the sessions go.
type Tender interface {
	Tend(ctx context.Context, now time.Time)
}

// Heir is an optional part of a Check: it takes over what the check of the same name knew of the outside that was used before the
// configuration was read again. Inherit is called before the first session and the first Tend; old is still in use.
type Heir interface {
	Inherit(old Check)
}

// Reporter is an optional part of a Check: it tells the operator how the outside things do that it depends on. It must be quick.
type Reporter interface {
	Report() []Condition
}

// Condition is how one of them does, such as a DNSBL zone or a file.
type Condition struct {
	Check  string            `json:"check"` // name; set by the Pipeline
	Name   string            `json:"name"`
	State  string            `json:"state"` // one word, such as "on"
	Since  time.Time         `json:"since"` // of the state; zero: since the start
	Why    string            `json:"why"`   // a sentence, if the state is not as it should be
	Counts map[string]uint64 `json:"counts,omitempty"`
}

// Event is something that was decided, or that the MTA told of.
type Event struct {
	Kind   EventKind
	Reason *Reason  // of a Refused one
	Reply  Reply    // of a Refused one
	Reset  Envelope // of a Reset one: the transaction that was given up
}

// EventKind says what happened.
type EventKind uint8

// The events.
const (
	Refused      EventKind = iota // we refused: the last recipient at RcptTo, the transaction at MailFrom and EndOfHeader; s.Stage is meaningless
	BadRecipient                  // the MTA refused the last recipient, whose Refused has the enhanced status code
	Accepted                      // the end of a message that we have nothing against
	Reset                         // the client gave up an open transaction with RSET and began another
	Disconnected                  // the end of the connection
)

// Env is what a check may use beside the session. Nothing else is reachable.
type Env struct {
	DNS   Resolver
	Store Store
	Site  Site
	Log   *logrus.Entry // for what the operator must know of the check itself, not of a session

	// Dial connects to another host. nil: nobody may be troubled, for this is a trial; a check that would have to connect
	// then could not find out.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Registry Registry // nil: in a trial, nobody is asked when a domain was registered

	// Clock tells how far Session.Time is to be believed. nil: wholly, for in a trial it is given.
	Clock *Clock
}

// Registry knows when domains were registered. It is safe for concurrent use.
type Registry interface {
	// Registered returns when a domain (A-labels, lower case) was registered, the last time if it was several times. It is the
	// zero time if nobody knows: the domain is not registered, its registry tells nothing, or no date. The error means that it
	// could not be found out now.
	//
	// server is the base URL of an RDAP server (RFC 9082 section 3.1.3); empty: the one that IANA lists for the top-level
	// domain (RFC 9224).
	Registered(ctx context.Context, server, domain string) (time.Time, error)
}

// Site is the mail site that this program guards.
type Site struct {
	Hostname     string       // of the MTA, as it greets
	LocalDomains []string     // domains it receives mail for, lower case
	Addresses    []netip.Addr // of its interfaces, loopback left out
}

// Info describes a check completely: the registry, the configuration, the manual and the web pages are made from it.
type Info struct {
	Name         string    // folder, configuration key, metric label and log field: one lower-case word
	Doc          string    // what it looks at, for the manual: a sentence or two
	Stages       []Stage   // when it runs
	Reasons      []*Reason // everything it may say, in order of precedence
	NotForwarded bool      // it is not asked about mail that a forwarder of the recipient passes on, see Policy
	Vouches      bool      // it is asked for its vouches too, even where all its reasons are off
	// Public says that its questions and findings are about the sender's own names: the page of a refusal shows them to the
	// sender. false: it shows none but what refused, for the name of a DNS list may hold the key for which this site pays.
	Public  bool
	Default any // settings, a struct with yaml and doc tags; set by Define
	// New builds the check. decode fills the struct it is given, which holds the defaults, from the configuration.
	New func(decode func(settings any) error, env Env) (Check, error)
}

// Define completes an Info with the check's settings (C, whose defaults are given) and its constructor.
//
// A settings struct has a yaml tag and a doc tag (one sentence, with the unit) on each field, and may have a method
// Validate() error, which is called after decoding and tells all faults, each on a line (errors.Join).
func Define[C any](i Info, defaults C, build func(C, Env) (Check, error)) Info {
	i.Default = defaults
	i.New = func(decode func(any) error, env Env) (Check, error) {
		c := defaults
		if err := decode(&c); err != nil {
			return nil, err
		}
		return build(c, env)
	}
	return i
}

// NoSettings is for Define: a check that has nothing to configure.
type NoSettings struct{}
