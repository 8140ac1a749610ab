package checks

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

// Check answers one question about a session. It is safe for concurrent use by many sessions.
//
// It returns every verdict that applies, in any order: a watched reason must not hide an enforced one. Without a verdict, the
// session passes the check. A Check may also implement Prefetcher, Observer, Maintainer, Reloader and Authenticator.
//
// If an answer of the DNS or the store is missing and could change the verdicts, the check returns the error, and with it the verdicts
// that apply nevertheless:
//
//   - A reason that applies only with a certain answer is left out.
//   - A reason that applies already is Unsure if the answer could excuse the client, such as by a signature or as a known relay.
//   - A vouch that the answer might show is Unsure.
//
// What an error does to mail is the operator's choice, see Options.OnError. A failure that has a reason of its own, such as
// spf-temperror, is no error. While the clock is in doubt (Env.Clock), a verdict that depends on the time is Unsure.
type Check interface {
	Check(ctx context.Context, r *Request) ([]Verdict, error)
}

// Info describes a check. Package checks/all lists the Infos of all checks; the configuration, the manual and the web pages
// are made from that list. The web page of a reason has more texts in milter/web/why/pages/reasons.yaml.
type Info struct {
	Name         string    // folder, configuration key, metric label and log field: one lower-case word
	Doc          string    // what it looks at, for the manual: a sentence or two
	Stages       []Stage   // when it runs
	Reasons      []*Reason // all that it may return, in order of precedence
	NotForwarded bool      // skipped for mail that a forwarder of the recipient passes on, see Forwarders
	TrustedToo   bool      // runs for trusted clients too, see Request.Trusted; a failure does not defer their mail
	Vouches      bool      // runs even if all its reasons are off, as it may return a Vouch
	Body         bool      // it needs the body of signed messages, see Options.Body
	Public       bool      // its questions are about the sender's own names, so the sender's pages may show them
	Default      any       // settings: a struct with yaml and doc tags; set by Define

	// New returns the configured check. decode fills the struct it receives, which holds the defaults.
	New func(decode func(settings any) error, env Env) (Check, error)
}

// Define completes an Info with the check's settings, whose defaults are given, and its constructor.
//
// A settings struct has a yaml tag and a doc tag (one sentence, with the unit) on each field. A string may have the tag one, with
// its permitted values. A type with other values implements encoding.TextUnmarshaler and TextMarshaler. The struct may have a
// method Validate() error, which is called after decoding and returns all faults (errors.Join).
func Define[C any](i Info, defaults C, build func(C, Env) (Check, error)) Info {
	i.Default = defaults
	i.New = func(decode func(any) error, env Env) (Check, error) {
		c := defaults
		if err := decode(&c); err != nil {
			return nil, err
		}
		if v, ok := any(c).(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				return nil, err
			}
		}
		return build(c, env)
	}
	return i
}

// NoSettings is the settings type of a check without settings.
type NoSettings struct{}

// Env is all that a check may use besides the session.
type Env struct {
	DNS   Resolver
	Store Store
	Site  Site
	Log   *logrus.Entry // for messages about the check itself, not about a session
	Clock *Clock        // whether Session.Time is in doubt; nil: never

	// Dial connects to another host. It is nil where no connection may be made, as in simulate; a check that needs one then
	// returns an error.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Registry Registry // of domains; nil: their age is not looked up
	Senders  Senders  // nil: nothing is known of them

	Signatures int // DKIM signatures of a message that are verified at most; 0: DKIM and DMARC are not evaluated
}

// Site is the mail site that milterd protects.
type Site struct {
	Hostname     string       // of the MTA, as in its greeting
	LocalDomains []string     // domains it receives mail for, as in Address.Domain
	Addresses    []netip.Addr // of its interfaces, without loopback
}

// IsLocal reports whether a domain, as in Address.Domain, is one of LocalDomains. A subdomain is not.
func (s Site) IsLocal(domain string) bool { return slices.Contains(s.LocalDomains, domain) }

// Senders reports what earlier mail says of senders. A sender is the organisational domain of a confirmed client name or of an SPF
// pass. Its methods do not wait for anything, and are safe for concurrent use.
type Senders interface {
	// IsGood reports whether the mail of a sender should not be refused.
	IsGood(domain string) bool
	// Relays reports whether a sender is good and has passed on mail of others, without a refusal that speaks against it.
	Relays(domain string) bool
	// Unread returns an error until what earlier mail says was read for the first time. IsGood and Relays return false until then,
	// which says nothing of the sender.
	Unread() error
}

// Registry looks up when domains were registered with their registries. It is safe for concurrent use.
type Registry interface {
	// Registered returns when a domain (A-labels, lower case) was registered last. It returns the zero time if the domain
	// is not registered or its registry publishes no date, and an error if the registry did not answer.
	//
	// server is the base URL of an RDAP server (RFC 9082 section 3.1.3). If it is empty, the server is the one that IANA
	// lists for the top-level domain (RFC 9224).
	Registered(ctx context.Context, server, domain string) (time.Time, error)
}
