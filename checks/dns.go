package checks

import (
	"context"

	"github.com/miekg/dns"
)

// Resolver asks the DNS. It is safe for concurrent use.
//
// NXDOMAIN and an empty answer are Answers. The error means that the DNS could not be asked or did not know: time-out,
// SERVFAIL, REFUSED, garbage, or a done context. A name that cannot stand in a question (RFC 1035 section 2.3.4) does
// not exist: it is answered as NXDOMAIN without being asked.
type Resolver interface {
	Lookup(ctx context.Context, q Question) (Answer, error)
}

// Knower is an optional part of a Resolver: what it can answer without asking anybody, at once; ok tells whether that is so. Some
// questions in one go cost a goroutine each otherwise.
type Knower interface {
	Known(ctx context.Context, q Question) (a Answer, ok bool, err error)
}

// Question is one question to the DNS, in class IN. Make it with Ask.
type Question struct {
	Name string // absolute, lower case, in the master-file form of RFC 1035 section 5.1: "example.org."
	Type uint16 // dns.TypeMX, ...
}

// Ask makes the question for the records of type t at name, which is taken as absolute.
func Ask(name string, t uint16) Question { return Question{dns.CanonicalName(name), t} }

// String is for logs and traces: "example.org. MX".
func (q Question) String() string { return q.Name + " " + dns.Type(q.Type).String() }

// Answer is what the DNS knows.
type Answer struct {
	// Records is the answer section: the chain of CNAME records that led away from the name asked for, if any, in their
	// order, then the records of the asked type at its end. It is shared: do not change it.
	Records  []dns.RR
	NXDomain bool // the name (or the end of its CNAME chain) does not exist; Records may still hold the chain
}

// Ahead is a question worth asking before the answer is needed.
type Ahead struct {
	Question
	Then func(Answer) []Ahead // pure; the questions that follow from the answer; nil if none do
	Key  any                  // comparable: of two for one session with equal Question and Key the same follows; nil: who knows
}

// covers tells whether announcing a makes it needless to announce b.
func (a Ahead) covers(b Ahead) bool {
	return a.Question == b.Question && (b.Then == nil || a.Key != nil && a.Key == b.Key)
}

// Announcer asks questions in the background, so that a later Lookup finds them answered or on their way. Announcing
// may change how long a verdict takes, never the verdict.
type Announcer interface {
	Announce(questions []Ahead)
}

// RecordsOf returns the records of type T in an answer, leaving out CNAMEs on the way and whatever else was added.
func RecordsOf[T dns.RR](a Answer) []T {
	var out []T
	for _, rr := range a.Records {
		if r, ok := rr.(T); ok {
			out = append(out, r)
		}
	}
	return out
}
