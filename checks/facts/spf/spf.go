package spf

import (
	"cmp"
	"net/netip"
	"strings"
	"time"
)

// Result is a result of check_host() in the words of RFC 8601 section 2.7.2. The empty word is none of them.
type Result string

// The results, RFC 7208 section 2.6.
const (
	None      Result = "none"      // no policy, or no domain to ask for one
	Neutral   Result = "neutral"   // a policy that says nothing about the client
	Pass      Result = "pass"      // the client may use the domain
	Fail      Result = "fail"      // it may not
	SoftFail  Result = "softfail"  // it probably may not
	TempError Result = "temperror" // the DNS did not answer
	PermError Result = "permerror" // the policy cannot be understood
)

// Identity is what a result is about, in the words of RFC 7208 section 9.1.
type Identity string

// The identities, RFC 7208 sections 2.3 and 2.4.
const (
	MailFrom Identity = "mailfrom"
	Helo     Identity = "helo"
)

// Evaluation is what check_host() of RFC 7208 section 4 says of one identity. Its texts are remote bytes, but for Explanation.
type Evaluation struct {
	Identity    Identity
	Result      Result
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
func (r Evaluation) Identifies() (bool, error) {
	return r.Result == Pass && !r.TooWide && r.WidthErr == nil, r.WidthErr
}

// Subject is what check_host() is asked about, and what macros stand for.
type Subject struct {
	Identity Identity
	Client   netip.Addr // never an IPv4-mapped address; invalid if it is unknown
	Local    string     // local part of <sender>; empty: postmaster, RFC 7208 section 4.3
	Domain   string     // initial <domain>, which is the domain of <sender> too; lower case, no trailing dot
	Helo     string     // HELO name, for macros
	Receiver string     // host name of the receiving site, for macros
	Time     time.Time  // for macros
}

// judged tells whether the domain can have a policy, RFC 7208 section 4.3: a name of two labels or more that can stand
// in a DNS question. Addresses, with brackets or without, are none.
func (w Subject) judged() bool {
	if !strings.Contains(w.Domain, ".") || strings.HasPrefix(w.Domain, "[") || !w.Client.IsValid() {
		return false
	}
	if _, err := netip.ParseAddr(w.Domain); err == nil {
		return false
	}
	_, ok := spfDNSName(w.Domain)
	return ok
}

func (w Subject) localPart() string { return cmp.Or(w.Local, "postmaster") }
