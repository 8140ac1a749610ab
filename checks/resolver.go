package checks

import (
	"context"

	"github.com/miekg/dns"
)

// Resolver asks the DNS. It is safe for concurrent use.
//
// NXDOMAIN and an empty answer are Answers. An error means that the DNS did not answer the question: time-out, SERVFAIL,
// REFUSED, a malformed response, or a done context. A name that cannot be in a question (RFC 1035 section 2.3.4) is
// answered with NXDOMAIN.
type Resolver interface {
	Lookup(ctx context.Context, q Question) (Answer, error)
}

// Question is a DNS question in class IN. Ask returns one.
type Question struct {
	Name string // absolute, lower case, in master-file form (RFC 1035 section 5.1): "example.org."
	Type uint16 // dns.TypeMX, ...
}

// Ask returns the question for the records of type t at name, which is taken as absolute.
func Ask(name string, t uint16) Question { return Question{Name: dns.CanonicalName(name), Type: t} }

// String returns the question as shown in logs and traces: "example.org. MX".
func (q Question) String() string { return q.Name + " " + dns.Type(q.Type).String() }

// Answer is the answer to a Question.
type Answer struct {
	// Records is the answer section: the chain of CNAME records from the name in the question, if any, in order, then the
	// records of the type in the question. It is shared and must not be changed.
	Records  []dns.RR
	NXDomain bool // the name, or the end of its CNAME chain, does not exist; Records may still hold the chain
}

// Size estimates the memory of an answer in bytes. Package dns keeps texts and names escaped, with up to four bytes for each of the
// message.
func (a Answer) Size() int {
	size := 0
	for _, rr := range a.Records {
		size += recordOverhead + len(rr.Header().Name)
		switch rr := rr.(type) {
		case *dns.TXT:
			for _, s := range rr.Txt {
				size += len(s) + stringOverhead
			}
		case *dns.PTR:
			size += len(rr.Ptr)
		case *dns.MX:
			size += len(rr.Mx)
		case *dns.CNAME:
			size += len(rr.Target)
		case *dns.A, *dns.AAAA: // in recordOverhead
		default:
			size += 4 * dns.Len(rr)
		}
	}
	return size
}

const (
	recordOverhead = 112 // bytes of a record without its texts
	stringOverhead = 16  // bytes of a string without its text
)

// RecordsOf returns the records of type T in an answer.
func RecordsOf[T dns.RR](a Answer) []T {
	var out []T
	for _, rr := range a.Records {
		if r, ok := rr.(T); ok {
			out = append(out, r)
		}
	}
	return out
}

// Query is a question to ask before the answer is needed.
type Query struct {
	Question
	Then func(Answer) []Query // the questions that follow from the answer; pure; nil if none follow
	Key  any                  // equal for two equal Thens, as functions cannot be compared; nil: unequal to all
}

// covers reports whether asking a makes asking b superfluous.
func (a Query) covers(b Query) bool {
	return a.Question == b.Question && (b.Then == nil || a.Key != nil && a.Key == b.Key)
}

// Queries returns queries that no other questions follow from.
func Queries(questions ...Question) []Query {
	list := make([]Query, len(questions))
	for i, q := range questions {
		list[i].Question = q
	}
	return list
}

// Announcer asks questions in the background, so that a later Lookup finds the answer in the cache or on its way. It changes
// how long a verdict takes, never the verdict.
type Announcer interface {
	Announce(questions []Query)
}
