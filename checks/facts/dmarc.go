package facts

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"milterd/checks"
	"milterd/checks/facts/dkim"
	"milterd/checks/facts/dmarc"
	"milterd/checks/facts/spf"
)

type treeKey struct{}

// treeOf returns the DMARC records found for the message so far.
func treeOf(env checks.Env, r *checks.Request) *dmarc.Tree {
	t, _ := checks.Remember(r, checks.EndOfMessage, treeKey{}, func() (*dmarc.Tree, error) { return dmarc.NewTree(env.DNS), nil })
	return t
}

type dmarcKey struct{}

// DMARC evaluates the author domains of the message and remembers the result for the transaction. It is for the stage
// EndOfMessage. Without a client address SPF takes no part, so only a pass is certain.
//
// The error is not nil if and only if the result is temperror.
func DMARC(ctx context.Context, env checks.Env, r *checks.Request) (dmarc.Evaluation, error) {
	return checks.Remember(r, checks.EndOfMessage, dmarcKey{}, func() (dmarc.Evaluation, error) {
		return DMARCOf(ctx, env, r, MessageAuthors(r).Evaluated())
	})
}

// DMARCOf is DMARC for some of the author domains. It remembers no result.
func DMARCOf(ctx context.Context, env checks.Env, r *checks.Request, authors []string) (dmarc.Evaluation, error) {
	return treeOf(env, r).Evaluate(ctx, authors, Identifiers(ctx, env, r))
}

// Identifiers returns the domains of SPF and DKIM with their states. The first is that of MAIL FROM, or of HELO with a null
// reverse-path. Those of the signatures follow. It is for the stage EndOfMessage.
func Identifiers(ctx context.Context, env checks.Env, r *checks.Request) []dmarc.Identifier {
	var list []dmarc.Identifier
	if ev, err := MailFromSPF(ctx, env, r); ev.Domain != "" {
		state := map[spf.Result]dmarc.State{spf.Pass: dmarc.Passed, spf.TempError: dmarc.Unknown}[ev.Result]
		list = append(list, dmarc.Identifier{Method: "spf", Domain: ev.Domain, State: state, Err: err, Unsure: ev.NamesMissed})
	}
	return append(list, signersOf(ctx, env, r)...)
}

// signersOf returns the domains of the signatures with their states, without those that are too many to be verified.
func signersOf(ctx context.Context, env checks.Env, r *checks.Request) []dmarc.Identifier {
	var list []dmarc.Identifier
	results, _ := DKIM(ctx, env, r)
	for _, res := range results[:min(len(results), env.Signatures)] {
		if res.Domain != "" {
			id := dmarc.Identifier{Method: "dkim", Domain: res.Domain, Err: res.Err}
			switch {
			case res.Status == dkim.Pass:
				id.State = dmarc.Passed
			case res.Status == dkim.TempError:
				id.State = dmarc.Unknown
			case res.Status == dkim.Neutral && env.Clock.Doubt(r.Time) != "":
				id.State, id.Err, id.Unsure = dmarc.Unknown, errClock, true
			}
			list = append(list, id)
		}
	}
	return list
}

// errClock is the error of a signature that has expired, or is from the future, by a clock that is in doubt.
var errClock = errors.New("the clock of this host is in doubt, and with it the time of a DKIM signature")

// SignedBy reports whether a signature passes whose domain aligns with a domain (lower-case A-labels): they have the same
// organisational domain. It is for the stage EndOfMessage.
func SignedBy(ctx context.Context, env checks.Env, r *checks.Request, domain string) (bool, error) {
	signers := signersOf(ctx, env, r)
	if len(signers) == 0 {
		return false, nil
	}
	treeOf(env, r).Load(ctx, MessageAuthors(r).Domains) // before those of domains that the sender chose
	ctx, cancel := checks.WithShare(ctx, 0.5)           // slow name servers of these leave time for DMARC
	defer cancel()
	var missed error
	for _, id := range signers {
		if id.State == dmarc.Failed {
			continue
		}
		aligned, err := Aligned(ctx, env, r, domain, id.Domain)
		switch {
		case aligned && id.State == dmarc.Passed:
			return true, nil
		case aligned:
			err = id.Err
		}
		missed = cmp.Or(missed, err)
	}
	return false, missed
}

// PrefetchDMARC returns the questions of DMARC at the stage of the Request. At MailFrom they are about the domain of the
// reverse-path, which is that of most authors: the answer comes before the header section does.
func PrefetchDMARC(env checks.Env, r *checks.Request) []checks.Query {
	if env.Signatures <= 0 {
		return nil
	}
	sender := ASCIIDomain(r.Envelope.MailFrom.Domain)
	switch r.Stage {
	case checks.MailFrom:
		return dmarc.Prefetch([]string{sender}, nil)
	case checks.EndOfHeader:
	default:
		return nil
	}
	var identifiers []string
	if s := spfSubject(r, mailFromIdentity(r), ""); r.Client.IsValid() {
		identifiers = append(identifiers, s.Domain)
	}
	for _, q := range verificationOf(env, r).Questions() {
		_, domain, _ := strings.Cut(strings.TrimSuffix(q.Name, "."), "._domainkey.")
		identifiers = append(identifiers, domain)
	}
	authors := MessageAuthors(r).Domains
	isOther := func(domain string) bool { return domain != sender }
	if !slices.ContainsFunc(authors, isOther) && !slices.ContainsFunc(identifiers, isOther) {
		return nil // MailFrom had the questions
	}
	return dmarc.Prefetch(authors, identifiers)
}

// Aligned reports whether two domains (lower-case A-labels) have the same organisational domain, by RFC 9989 or by the public
// suffix list if there is no record. It is for the stage EndOfMessage.
func Aligned(ctx context.Context, env checks.Env, r *checks.Request, a, b string) (bool, error) {
	return treeOf(env, r).Aligned(ctx, a, b)
}
