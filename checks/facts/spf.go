package facts

import (
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
}

// spfKey is the key of a remembered SPF, of the scope of its identity.
type spfKey struct{}

// spfWideKey is the key of what SPFTooWide remembers.
type spfWideKey struct{}

// MailFromSPF judges the MAIL FROM identity. With a null reverse-path that is the HELO identity (RFC 7208 section 2.4),
// whose result it returns. It is for the stage MailFrom and later ones.
//
// The error is not nil if and only if the result is temperror.
func MailFromSPF(ctx context.Context, env checks.Env, s *checks.Request) (SPF, error) {
	if s.Envelope.MailFrom.IsNull() {
		return HeloSPF(ctx, env, s)
	}
	return checks.Remember(s, checks.MailFrom, spfKey{}, func() (SPF, error) {
		return newSPFEval(ctx, env, s, SPFMailFrom).judge()
	})
}

// HeloSPF judges the HELO identity, RFC 7208 section 2.3. An address literal and a name of one label have no policy. It is
// for the stage Helo and later ones.
//
// The error is not nil if and only if the result is temperror.
func HeloSPF(ctx context.Context, env checks.Env, s *checks.Request) (SPF, error) {
	return checks.Remember(s, checks.Helo, spfKey{}, func() (SPF, error) {
		return newSPFEval(ctx, env, s, SPFHelo).judge()
	})
}

// Addresses of the documentation networks, which nobody sends mail from: RFC 5737, and RFC 3849 with RFC 9637.
var (
	spfNobody4 = [...]netip.Addr{
		netip.AddrFrom4([4]byte{192, 0, 2, 255}),
		netip.AddrFrom4([4]byte{198, 51, 100, 255}),
		netip.AddrFrom4([4]byte{203, 0, 113, 255}),
	}
	spfNobody6 = [...]netip.Addr{
		netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 14: 0xff, 15: 0xff}),
		netip.AddrFrom16([16]byte{0x3f, 0xff, 14: 0xff, 15: 0xff}),
	}
)

// SPFTooWide tells whether a pass of this session, as MailFromSPF or HeloSPF gave it, is worth nothing because addresses
// of all documentation networks would get it too: those of IPv4, or for an IPv6 client, those of IPv6. It is false for
// every other result.
//
// A host's own address (a or mx without a prefix length) and a reverse name (ptr) are taken not to match a documentation
// address, without asking for them. So a record that lists networks costs no question but those for its include:,
// exists: and redirect= terms.
//
// The error is not nil if the DNS did not say. The pass does not count as identity then, nor is it known to be too wide.
func SPFTooWide(ctx context.Context, env checks.Env, s *checks.Request, r SPF) (bool, error) {
	if r.Result != SPFPass {
		return false, nil
	}
	scope := checks.MailFrom
	if r.Identity == SPFHelo {
		scope = checks.Helo
	}
	return checks.Remember(s, scope, spfWideKey{}, func() (bool, error) {
		e := newSPFEval(ctx, env, s, r.Identity)
		if e.who.client.Is6() {
			if wide, err := e.allPass(spfNobody6[:]); wide || err != nil {
				return wide, err
			}
		}
		return e.allPass(spfNobody4[:])
	})
}

// SPFIdentifies tells whether a result of this session shows who the client is: a pass that is not too wide. With an
// error, which is that of SPFTooWide, it is false.
func SPFIdentifies(ctx context.Context, env checks.Env, s *checks.Request, r SPF) (bool, error) {
	if r.Result != SPFPass {
		return false, nil
	}
	wide, err := SPFTooWide(ctx, env, s, r)
	return err == nil && !wide, err
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
