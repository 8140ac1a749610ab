// Package dkim verifies DKIM signatures: RFC 6376 with RFC 8301 (algorithms), RFC 8463 (Ed25519) and RFC 8616 (U-labels).
// Sections without the number of an RFC are those of RFC 6376.
//
// A Verifier receives the header section, then the body as it arrives, and then asks for the keys. It keeps no part of the
// body. All work is linear in the size of the message, and few signatures are verified.
//
// Package github.com/emersion/go-msgauth/dkim signs the messages of the tests and verifies them a second time. It is not used to
// verify mail: it takes quadratic time, fails genuine mail (b= in other tags, the case of i=, tabs in p=), and accepts fields added
// after signing.
//
// Start reading with Verifier. signature.go parses signatures, key.go key records, and canon.go has the canonicalisations.
package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/headers"
)

// Status is the result of a signature, a word of RFC 8601 section 2.7.1.
type Status string

const (
	None      Status = "none"      // would be Fail, but the key record has t=y: the domain tests DKIM
	Pass      Status = "pass"      // the domain signed this message
	Fail      Status = "fail"      // the message was changed after signing, or the key was revoked
	Policy    Status = "policy"    // the signature is not accepted, whether it is valid or not
	Neutral   Status = "neutral"   // the signature has expired, or is from the future
	TempError Status = "temperror" // the DNS did not answer, and the body is the signed one
	PermError Status = "permerror" // the signature or its key cannot be used
)

// Result is the result of one signature.
type Result struct {
	Status    Status
	Why       string // reason of a Status other than Pass; printable US-ASCII without remote text
	Domain    string // d=, as lower-case A-labels; empty if it is not a domain name
	Selector  string // s=, likewise
	Identity  string // i=, or "@" and Domain; remote text
	Algorithm string // a=, in lower case; remote text
	Signature string // first 8 characters of b=, for header.b of RFC 6008; remote text
	Covered   string // h=, in lower case: the names of the signed fields with colons between; remote text

	BodyChanged   bool  // the body is not the signed one; for Fail and None
	HeaderChanged bool  // the fields are not the signed ones, or the key is another one; for Fail and None
	Err           error // the DNS did not answer for the key; may name the site's DNS servers, so it is for the log only
}

// KeyName returns the domain name of the key record, section 3.6.2.1. Domain and Selector must not be empty.
func (r *Result) KeyName() string { return r.Selector + "._domainkey." + r.Domain }

// maxSignatures is the number of signatures that are read. It bounds the results of a header section full of signatures.
const maxSignatures = 100

// Verifier verifies the signatures of one message. It belongs to one goroutine, and starts no other that outlives a call.
type Verifier struct {
	signatures []*signature
	bodies     map[bool]*body // those that signatures need; true: relaxed
	work       work
}

// work counts what a Verifier did, for tests of its limits.
type work struct{ hashedBytes, verified, namesLookedUp int }

// New returns a Verifier for a message with a header section. It verifies limit signatures at most: those whose domain has
// the organisational domain of one of the author domains, then the others, both in the order of the fields.
func New(fields []headers.Field, author []string, limit int) *Verifier {
	v := &Verifier{bodies: map[bool]*body{}}
	for i, f := range fields {
		if f.Is("DKIM-Signature") && len(v.signatures) < maxSignatures {
			v.signatures = append(v.signatures, readSignature(i, f.Value))
		}
	}
	authorFirst(v.signatures, author)
	for _, sig := range v.signatures[min(max(limit, 0), len(v.signatures)):] {
		sig.decide(Policy, "not looked at: the message has too many signatures")
	}
	var s *section
	for _, sig := range v.undecided() {
		if s == nil {
			s = newSection(fields, &v.work)
		}
		var added string
		if sig.headerHash, added = s.hash(sig); added != "" {
			sig.decide(Policy, "field added after signing: there are several "+added+" fields")
		} else if v.bodies[sig.relaxedBody] == nil {
			v.bodies[sig.relaxedBody] = newBody(sig.relaxedBody)
		}
	}
	for _, sig := range v.signatures {
		sig.rest, sig.names = "", nil // copies of the fields, which the message would hold until its end
	}
	return v
}

// authorFirst moves the signatures of the author domains to the front.
func authorFirst(signatures []*signature, author []string) {
	rank := map[string]int{}
	for _, domain := range author {
		rank[checks.Organization(strings.ToLower(domain))] = -1
	}
	slices.SortStableFunc(signatures, func(a, b *signature) int {
		return rank[checks.Organization(a.Domain)] - rank[checks.Organization(b.Domain)]
	})
}

// undecided returns the signatures without a Status.
func (v *Verifier) undecided() []*signature {
	return slices.DeleteFunc(slices.Clone(v.signatures), func(sig *signature) bool { return sig.Status != "" })
}

// Questions returns the questions that Results will ask, each once.
func (v *Verifier) Questions() []checks.Question {
	var questions []checks.Question
	for _, sig := range v.undecided() {
		if q := sig.question(); !slices.Contains(questions, q) {
			questions = append(questions, q)
		}
	}
	return questions
}

// WantsBody reports whether a result depends on the body. If not, Write need not be called.
func (v *Verifier) WantsBody() bool { return len(v.bodies) > 0 }

// Write hashes the next part of the body, whose lines end with CRLF or LF. It never fails.
func (v *Verifier) Write(p []byte) (int, error) {
	for _, b := range v.bodies {
		b.write(p)
		v.work.hashedBytes += len(p)
	}
	return len(p), nil
}

// LineEnds returns a note on line ends of the body that signer and verifier may read differently, or "". A bare LF is noted
// only beside CRLF: a message file has LF throughout.
func (v *Verifier) LineEnds() string {
	for _, b := range v.bodies {
		if b.bareCR || b.bareLF && b.crlf {
			return "the body has a bare CR or LF"
		}
	}
	return ""
}

// Results returns the results of the signatures after the last part of the body, in the order of New, or none without a
// signature. It asks for all keys at once. now is the time of arrival, for t= and x=.
func (v *Verifier) Results(ctx context.Context, dns checks.Resolver, now time.Time) []Result {
	questions := v.Questions()
	answers := checks.LookupAll(ctx, dns, questions...)
	for _, sig := range v.undecided() {
		v.verify(sig, answers[slices.Index(questions, sig.question())], now)
	}
	var results []Result
	for _, sig := range v.signatures {
		results = append(results, sig.Result)
	}
	return results
}

// verify decides a signature by the answer to the question for its key, section 6.1.
func (v *Verifier) verify(sig *signature, a checks.LookupResult, now time.Time) {
	k, status, why := readKey(a.Answer)
	switch {
	case !sig.expires.IsZero() && now.After(sig.expires):
		status, why = Neutral, "the signature has expired"
	case sig.created.Sub(now) > time.Hour: // clocks differ
		status, why = Neutral, "the signature is from the future"
	case a.Err != nil && v.bodies[sig.relaxedBody].sum() != sig.bodyHash: // whatever the key is
		sig.Err, sig.BodyChanged, status, why = a.Err, true, Fail, "the body was changed after signing"
	case a.Err != nil:
		sig.Err, status, why = a.Err, TempError, "the DNS does not answer for the key"
	case status == "":
		status, why = v.compare(sig, k)
	}
	if k.testing && status == Fail {
		status, why = None, why+" (the key record has t=y: testing)"
	}
	sig.decide(status, why)
}

// compare compares the hashes with those that were signed, section 6.1.3. It does so for the header even if the body differs:
// a changed body under an intact header is the work of a list or a filter, not of a forger.
func (v *Verifier) compare(sig *signature, k key) (Status, string) {
	if why := k.forbids(sig); why != "" {
		return PermError, why
	}
	v.work.verified++
	if public, ok := k.public.(ed25519.PublicKey); ok {
		sig.HeaderChanged = !ed25519.Verify(public, sig.headerHash[:], sig.signed)
	} else {
		err := rsa.VerifyPKCS1v15(k.public.(*rsa.PublicKey), crypto.SHA256, sig.headerHash[:], sig.signed)
		if sig.HeaderChanged = err != nil; sig.HeaderChanged && !errors.Is(err, rsa.ErrVerification) {
			return PermError, "the key cannot be used"
		}
	}
	sig.BodyChanged = v.bodies[sig.relaxedBody].sum() != sig.bodyHash
	switch {
	case sig.BodyChanged && sig.HeaderChanged:
		return Fail, "header and body are not the signed ones"
	case sig.BodyChanged:
		return Fail, "the body was changed after signing"
	case sig.HeaderChanged:
		return Fail, "a signed field was changed, or the key is not the signer's"
	}
	return Pass, ""
}
