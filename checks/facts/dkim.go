package facts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"milterd/checks"
	"milterd/checks/facts/dkim"
	"milterd/headers"
)

// Signed reports whether the message has a DKIM-Signature field, valid or not.
func Signed(r *checks.Request) bool {
	return slices.ContainsFunc(r.Envelope.Header, func(f headers.Field) bool { return f.Is("DKIM-Signature") })
}

type verification struct {
	*dkim.Verifier
	hasBody bool // the driver called Body, so it writes the body
}

func (v *verification) lacksBody() bool { return v.WantsBody() && !v.hasBody }

// noVerification is the verification of a message with nothing to verify.
var noVerification = &verification{Verifier: dkim.New(nil, nil, 0)}

type verificationKey struct{}

func verificationOf(env checks.Env, r *checks.Request) *verification {
	v, _ := checks.Remember(r, checks.EndOfHeader, verificationKey{}, func() (*verification, error) {
		if env.Signatures <= 0 || !Signed(r) {
			return noVerification, nil
		}
		return &verification{Verifier: dkim.New(r.Envelope.Header, MessageAuthors(r).Domains, env.Signatures)}, nil
	})
	return v
}

// CarryDKIM gives the verifier of a Request to another Request about the same message, for work that outlives the session. The
// goroutine of to owns the verifier from then on.
func CarryDKIM(env checks.Env, from, to *checks.Request) {
	v := verificationOf(env, from)
	_, _ = checks.Remember(to, checks.EndOfHeader, verificationKey{}, func() (*verification, error) { return v, nil })
}

// Body returns the writer of the body for DKIM, or nil if no signature needs the body. It is for the stage EndOfHeader, see
// checks.Options.Body.
func Body(env checks.Env, r *checks.Request) io.Writer {
	v := verificationOf(env, r)
	if !v.WantsBody() {
		return nil
	}
	v.hasBody = true
	return v
}

// LacksBody reports whether the signatures of the message cannot be verified because the driver does not have the body: no check with
// Info.Body is on, or a replay has header sections only. It is for the stage EndOfMessage.
func LacksBody(env checks.Env, r *checks.Request) bool {
	return verificationOf(env, r).lacksBody()
}

// PrefetchDKIM returns the questions of DKIM at the stage EndOfHeader, and none at others.
func PrefetchDKIM(env checks.Env, r *checks.Request) []checks.Query {
	if r.Stage != checks.EndOfHeader {
		return nil
	}
	return checks.Queries(verificationOf(env, r).Questions()...)
}

// keyShare is the share of the time that the keys may take. Their servers may be the sender's: with all of the time, slow ones
// would hide the policies that are asked for next. With half of it, slow honest ones would miss the default budget.
const keyShare = 0.75

type dkimKey struct{}

// DKIM returns the results of the signatures of the message, and remembers them for the transaction. Those of author domains
// come first. It is for the stage EndOfMessage. There are none if env.Signatures is 0.
//
// The error is the first one of the DNS. A caller that finds a signature that passes need not return it.
func DKIM(ctx context.Context, env checks.Env, r *checks.Request) ([]dkim.Result, error) {
	return checks.Remember(r, checks.EndOfMessage, dkimKey{}, func() ([]dkim.Result, error) {
		v := verificationOf(env, r)
		if v == noVerification {
			return nil, nil
		}
		resolver := env.DNS
		if v.lacksBody() {
			resolver = withoutBody{}
		}
		ctx, cancel := checks.WithShare(ctx, keyShare)
		defer cancel()
		results := v.Results(ctx, resolver, r.Time)
		var failed error
		for i := range results {
			if res := &results[i]; res.Err != nil {
				if v.lacksBody() {
					res.Status, res.Why, res.BodyChanged = dkim.TempError, errNoBody.Error(), false
				}
				res.Err = fmt.Errorf("DKIM signature of %s: %w", res.Domain, res.Err)
				failed = cmp.Or(failed, res.Err)
			}
		}
		return results, failed
	})
}

// errNoBody is the error of every signature that depends on the body if the driver does not have it.
var errNoBody = errors.New("the body of the message is not known")

// withoutBody is the resolver for keys if the driver does not have the body.
type withoutBody struct{}

// Lookup implements checks.Resolver.
func (withoutBody) Lookup(context.Context, checks.Question) (checks.Answer, error) {
	return checks.Answer{}, errNoBody
}

// LineEnds returns a note on the line ends of the body, see dkim.Verifier, or "".
func LineEnds(env checks.Env, r *checks.Request) string { return verificationOf(env, r).LineEnds() }
