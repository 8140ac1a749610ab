package facts

import (
	"cmp"
	"context"
	"net/netip"
	"strings"
	"time"

	"milterd/checks"
)

// SPFResult is a result of check_host() in the words of RFC 8601 section 2.7.2. The empty word is none of them.
type SPFResult string

// The results, RFC 7208 section 2.6.
const (
	SPFNone      SPFResult = "none"      // no policy, or no domain to ask for one
	SPFNeutral   SPFResult = "neutral"   // a policy that says nothing about the client
	SPFPass      SPFResult = "pass"      // the client may use the domain
	SPFFail      SPFResult = "fail"      // it may not
	SPFSoftFail  SPFResult = "softfail"  // it probably may not
	SPFTempError SPFResult = "temperror" // the DNS did not answer
	SPFPermError SPFResult = "permerror" // the policy cannot be understood
)

// SPFIdentity is what a result is about, in the words of RFC 7208 section 9.1.
type SPFIdentity string

// The identities, RFC 7208 sections 2.3 and 2.4.
const (
	SPFMailFrom SPFIdentity = "mailfrom"
	SPFHelo     SPFIdentity = "helo"
)

// SPF is what check_host() of RFC 7208 section 4 says of one identity. Its texts are remote bytes, but for Explanation.
type SPF struct {
	Identity    SPFIdentity
	Result      SPFResult
	Domain      string // that was judged, lower case, no trailing dot; empty if the identity has none
	By          string // domain whose record decided: Domain, or where its redirect= led; empty if no record did
	Match       string // directive that decided, as published: "-all"; empty if none matched
	NoMail      bool   // that record is "v=spf1 -all", whatever modifiers it has: the domain sends no mail
	Problem     string // for permerror and temperror: what is wrong, and where
	Explanation string // for fail: what exp= gives, RFC 7208 section 6.2; printable US-ASCII of at most 400 octets; or empty
	Lookups     int    // terms that asked the DNS; RFC 7208 section 4.6.4 allows 10
	Voids       int    // those among them that found nothing; 2 are allowed

	TooWide  bool  // for pass: addresses of all documentation networks would pass too, see tooWide
	WidthErr error // for pass: why TooWide is not known
}

// Identifies reports whether the result shows who the client is: a pass that is not too wide. The error means that a pass
// may be too wide.
func (r SPF) Identifies() (bool, error) {
	return r.Result == SPFPass && !r.TooWide && r.WidthErr == nil, r.WidthErr
}

// spfKey is the key of a remembered SPF, of the scope of its identity.
type spfKey struct{}

// MailFromSPF judges the MAIL FROM identity. With a null reverse-path that is the HELO identity (RFC 7208 section 2.4),
// whose result it returns. It is for the stage MailFrom and later ones.
//
// The error is not nil if and only if the result is temperror.
func MailFromSPF(ctx context.Context, env checks.Env, s *checks.Request) (SPF, error) {
	if s.Envelope.MailFrom.IsNull() {
		return HeloSPF(ctx, env, s)
	}
	return rememberSPF(ctx, env, s, checks.MailFrom, SPFMailFrom)
}

// HeloSPF judges the HELO identity, RFC 7208 section 2.3. An address literal and a name of one label have no policy. It is
// for the stage Helo and later ones.
//
// The error is not nil if and only if the result is temperror.
func HeloSPF(ctx context.Context, env checks.Env, s *checks.Request) (SPF, error) {
	return rememberSPF(ctx, env, s, checks.Helo, SPFHelo)
}

// rememberSPF evaluates an identity once in its scope.
func rememberSPF(ctx context.Context, env checks.Env, s *checks.Request, scope checks.Stage, id SPFIdentity) (SPF, error) {
	r, err := checks.Remember(s, scope, spfKey{}, func() (SPF, error) {
		r, err := evaluateSPF(ctx, env.DNS, spfSubjectOf(s, env.Site.Hostname, id))
		return r, cmp.Or(err, r.WidthErr) // an error is remembered for a shorter time
	})
	if r.Result != SPFTempError {
		err = nil
	}
	return r, err
}

// spfSubject is what check_host() is asked about, and what macros stand for.
type spfSubject struct {
	identity SPFIdentity
	client   netip.Addr
	helo     string
	local    string // local part of <sender>
	domain   string // initial <domain>, which is the domain of <sender> too; empty if it cannot have a policy
	receiver string // our host name
	now      time.Time
}

// spfSubjectOf takes an identity from the session.
func spfSubjectOf(s *checks.Request, receiver string, id SPFIdentity) spfSubject {
	// RFC 7208 section 4.3: postmaster stands in for a missing local part.
	who := spfSubject{identity: id, client: s.Client.Unmap(), helo: s.Helo, local: "postmaster", receiver: receiver, now: s.Time}
	if id == SPFHelo {
		who.domain = strings.ToLower(strings.TrimSuffix(s.Helo, "."))
		return who
	}
	from := s.Envelope.MailFrom
	who.domain = from.Domain
	if from.Local != "" {
		who.local = from.Local
	}
	return who
}

// judged tells whether the domain can have a policy, RFC 7208 section 4.3: a name of two labels or more that can stand
// in a DNS question. Addresses, with brackets or without, are none.
func (w spfSubject) judged() bool {
	if !strings.Contains(w.domain, ".") || strings.HasPrefix(w.domain, "[") || !w.client.IsValid() {
		return false
	}
	if _, err := netip.ParseAddr(w.domain); err == nil {
		return false
	}
	_, ok := spfDNSName(w.domain)
	return ok
}
