// Package spf evaluates the Sender Policy Framework, RFC 7208: whether the policy that a domain publishes in the DNS allows
// a client to use the domain in MAIL FROM or HELO. Section numbers in this package are those of RFC 7208.
//
// Start reading at CheckHost, which is check_host() of section 4. The evaluator goes through the records of a policy
// (record.go), matches their mechanisms (mechanism.go) and expands macros (macro.go, expand.go).
//
// checks/facts takes a Subject from a session and remembers the Evaluation. The check spf has the reasons that follow from
// it.
//
// The tests compare with blitiri.com.ar/go/spf. That library is not used here, as it finds no syntax errors after the
// matching directive, does not report which record decided, lacks %{p} and parts of the macro grammar, and asks for the
// addresses of both families.
package spf

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"milterd/checks"
)

// Result is a result of check_host(), section 2.6, as a word of RFC 8601 section 2.7.2. The zero value is none of them.
type Result string

// The results.
const (
	None      Result = "none"      // there is no policy, or no domain that can have one
	Neutral   Result = "neutral"   // the policy makes no statement about the client
	Pass      Result = "pass"      // the client may use the domain
	Fail      Result = "fail"      // the client may not use the domain
	SoftFail  Result = "softfail"  // the client probably may not use the domain
	TempError Result = "temperror" // the DNS did not answer
	PermError Result = "permerror" // the policy has an error
)

// Identity is the identity that a policy is evaluated for, as a word of section 9.1.
type Identity string

// The identities, sections 2.3 and 2.4.
const (
	MailFrom Identity = "mailfrom"
	Helo     Identity = "helo"
)

// Subject is what check_host() is asked about, section 4.1, and what macros need beside it.
type Subject struct {
	Identity Identity
	Client   netip.Addr // <ip>, never IPv4-mapped and without zone; invalid if it is not known
	Local    string     // local part of <sender>; empty: "postmaster", section 4.3
	Domain   string     // <domain>, and the domain of <sender>; lower case, no trailing dot
	Helo     string     // HELO name, for the macro h
	Receiver string     // host name of the receiving site, for the macro r
	Time     time.Time  // for the macro t
}

// Evaluation is the result of check_host() and how it came about. The texts are remote bytes, except Explanation.
type Evaluation struct {
	Identity    Identity
	Result      Result
	Domain      string // Subject.Domain; empty if it cannot have a policy
	By          string // domain whose record decided: Domain, or the target of a redirect=; empty if no record decided
	Match       string // directive that decided, as published: "-all"; empty if none matched
	NoMail      bool   // the deciding record is "v=spf1 -all", with or without modifiers: the domain sends no mail
	Problem     string // for TempError and PermError: what is wrong, and where
	Explanation string // for Fail: the text of exp=, section 6.2; printable US-ASCII of at most 400 bytes; may be empty

	NamesMissed bool // for TempError: the client, or the owner of its names, chose the name that has no answer

	TooWide  bool  // for Pass: addresses that belong to nobody would pass too, see evaluator.tooWide
	WidthErr error // for Pass: why TooWide is not known
}

// Identifies reports whether the evaluation shows who the client is: it passes, and the policy is not too wide. The error
// means that it passes and that the policy may be too wide.
func (ev Evaluation) Identifies() (bool, error) {
	return ev.Result == Pass && !ev.TooWide && ev.WidthErr == nil, ev.WidthErr
}

// maxText is the length of a text of an Evaluation in bytes. With half of it, a term of ordinary length could be cut.
const maxText = 1024

// short returns a copy of a text that is not too long. A session keeps it, and a record has up to 64 KiB.
func short(text string) string { return strings.Clone(text[:min(len(text), maxText)]) }

// CheckHost evaluates the policy of a domain. The error is not nil if and only if the result is TempError.
func CheckHost(ctx context.Context, dns checks.Resolver, s Subject) (Evaluation, error) {
	ev := Evaluation{Identity: s.Identity, Result: None}
	if !s.hasDomain() {
		return ev, nil
	}
	ev.Domain = s.Domain
	e := &evaluator{ctx: ctx, dns: dns, subject: s, policies: map[string]policy{}}
	d, err := e.checkHost(s.Domain)
	if missed := e.missedNames(); missed != nil && (err != nil || d.result != Pass) {
		missed.client = err == nil || err.result != TempError || err.client
		err = missed
	}
	ev.NamesMissed = err != nil && err.client
	ev.Result, ev.By, ev.Match, ev.NoMail = d.result, short(d.by), short(d.match), d.noMail
	switch {
	case err != nil:
		ev.Result, ev.Problem = err.result, short(err.text)
		if err.result == TempError {
			return ev, err
		}
	case d.result == Fail:
		ev.Explanation = short(e.explain(d))
	case d.result == Pass:
		ev.TooWide, ev.WidthErr = e.tooWide()
	}
	return ev, nil
}

// hasDomain reports whether the domain can have a policy, section 4.3: it has two labels or more, is no address, with or
// without brackets, and fits in a DNS question.
func (s Subject) hasDomain() bool {
	if !s.Client.IsValid() || !strings.Contains(s.Domain, ".") || strings.HasPrefix(s.Domain, "[") {
		return false
	}
	if _, err := netip.ParseAddr(s.Domain); err == nil {
		return false
	}
	_, ok := dnsName(s.Domain)
	return ok
}
