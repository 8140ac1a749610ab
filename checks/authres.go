package checks

import (
	"context"
	"slices"
)

// Authentication is the result of one method of message authentication, RFC 8601 section 2.2.
type Authentication struct {
	Method     string            // as registered with IANA: "spf", "iprev"
	Result     string            // of the method: "pass"
	Properties map[string]string // ptype.property -> value: "smtp.mailfrom" -> "example.org"; values are remote bytes
}

// Authenticator is an optional part of a Check: what it knows of who sends, for the trace fields of a message that is let in. It
// may ask again for what the session has no answer to.
type Authenticator interface {
	Authenticate(ctx context.Context, s *Session) []Authentication
}

// TraceFields says what is written into the header of a message that is let in. The zero value: nothing.
type TraceFields struct {
	AuthServID            string // who says it (RFC 8601 section 2.5): the site's host name
	AuthenticationResults bool   // RFC 8601; fields that bear our AuthServID but are not ours are removed
	ReceivedSPF           bool   // RFC 7208 section 9.1
}

// Any tells whether there is anything to write or to remove.
func (t TraceFields) Any() bool { return t.AuthenticationResults || t.ReceivedSPF }

// TraceFields are those of the options.
func (p *Pipeline) TraceFields() TraceFields { return p.opts.TraceFields }

// Authenticate collects what the checks know of the open transaction, which is at its end. A session that is trusted has no
// results: nobody looked. The context is one of Within.
func (p *Pipeline) Authenticate(ctx context.Context, s *Session) []Authentication {
	if s.Trusted {
		return nil
	}
	s.Stage = EndOfHeader
	var list []Authentication
	for i, inst := range p.instances {
		if a, ok := inst.Check.(Authenticator); ok && p.asked(i) {
			contain(func() { list = slices.Concat(list, a.Authenticate(ctx, s)) })
		}
	}
	return list
}
