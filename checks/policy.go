package checks

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"time"
)

// Options is the operator's policy.
type Options struct {
	Actions     map[string]Action // action of every reason, by id
	Named       map[string]bool   // ids of the reasons whose action the operator chose: it holds for bounces too, see Reason.BounceWatch
	Policies    []Policy          // for some recipients; the first match applies
	Exempt      RecipientSet      // recipients for whom no check runs
	Trusted     Trusted           // clients for which only checks with Info.TrustedToo run
	ReplyAt     Stage             // stage of the reply to client, HELO and sender reasons: MailFrom or RcptTo
	OnError     Action            // Tempfail: mail is deferred if a check fails, unless its reasons are all off; otherwise failures are ignored
	Budget      time.Duration     // for all checks of one stage together
	Trace       Trace             // which Decisions have Results
	Announce    Announcer         // nil: no questions are asked in the background
	Escalate    time.Duration     // how long a Reject for a reason with Identity is a Tempfail, from the first one for a client; 0: never
	Store       Store             // used for Escalate only
	Clock       *Clock            // used for Escalate only
	TraceFields TraceFields       // written into accepted messages

	// SubjectPrefix is put in front of the subject of marked messages, see Decision.Marks. Printable, without an
	// encoded-word; may be empty.
	SubjectPrefix string

	// ClientNamed reports whether match returns true for a confirmed name of the client (lower case, no trailing dot). With
	// an error it returns false, although there may be one. It is used for Policy.Forwarders. nil: no client has names.
	ClientNamed func(ctx context.Context, r *Request, match func(name string) bool) (bool, error)

	// Body returns the writer of the body of the current message, which computes what the checks need of it. It returns nil if
	// the body of this message is not needed. It is called at EndOfHeader, see Run.BeginBody, also for trusted clients, whose
	// messages no check sees. nil: no body is needed.
	Body func(r *Request) io.Writer

	// Took is called with the duration of each run of a check. It must be quick. It may be nil.
	Took func(check string, d time.Duration)

	// Link returns the link at the end of a reply and the id of the record it refers to. It must be quick. nil: no links.
	Link func(r *Reason, at time.Time) (record, link string)
}

// Policy replaces the actions for some recipients.
type Policy struct {
	Recipients RecipientSet
	Actions    map[string]Action // action of every reason, by id
	Named      map[string]bool   // as Options.Named
	Forwarders Forwarders        // of these recipients
}

// Trusted describes the trusted clients. The zero value has local submissions only.
type Trusted struct {
	Networks      []netip.Prefix
	Authenticated bool     // clients that authenticated
	Daemons       []string // clients of the listeners with these {daemon_name}s
}

// Trusts reports whether the client of a session is trusted.
func (t Trusted) Trusts(s *Session) bool {
	return s.Local ||
		t.Authenticated && s.AuthUser != "" ||
		slices.ContainsFunc(t.Networks, func(n netip.Prefix) bool { return n.Contains(s.Client) }) ||
		len(t.Daemons) > 0 && slices.Contains(t.Daemons, s.Macros["{daemon_name}"])
}

// TraceFields are the fields that milterd adds to accepted messages. The zero value adds none.
type TraceFields struct {
	AuthServID            string // authserv-id, RFC 8601 section 2.5
	AuthenticationResults bool   // RFC 8601; fields with the same authserv-id that arrive with a message are removed
	ReceivedSPF           bool   // RFC 7208 section 9.1
}

// Any reports whether there is a field to add or to remove.
func (t TraceFields) Any() bool { return t.AuthenticationResults || t.ReceivedSPF }
