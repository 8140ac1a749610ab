package facts

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"milterd/checks"
	"milterd/checks/facts/spf"
)

// MailFromSPF evaluates the MAIL FROM identity and remembers the result for the transaction. With a null reverse-path, that
// identity is the HELO identity, RFC 7208 section 2.4. It is for the stage MailFrom and later ones.
//
// If the time of an earlier stage ran out, it is evaluated again at EndOfMessage: a client could hide a fail by slow servers for its
// names.
//
// The error is not nil if and only if the result is temperror.
func MailFromSPF(ctx context.Context, env checks.Env, r *checks.Request) (spf.Evaluation, error) {
	e, err := rememberSPF(ctx, env, r, mailFromIdentity(r))
	if r.Stage != checks.EndOfMessage || env.Signatures <= 0 || !errors.Is(err, context.DeadlineExceeded) {
		return e, err
	}
	return checks.Remember(r, checks.EndOfMessage, spfKey{}, func() (spf.Evaluation, error) {
		_, _ = DKIM(ctx, env, r) // first, as this evaluation may take long too
		ctx, cancel := checks.WithShare(ctx, 0.5)
		defer cancel()
		return spf.CheckHost(ctx, env.DNS, spfSubject(r, mailFromIdentity(r), env.Site.Hostname))
	})
}

func mailFromIdentity(r *checks.Request) spf.Identity {
	if r.Envelope.MailFrom.IsNull() {
		return spf.Helo
	}
	return spf.MailFrom
}

// HeloSPF evaluates the HELO identity, RFC 7208 section 2.3, and remembers the result until the next HELO. It is for the
// stage Helo and later ones.
//
// The error is not nil if and only if the result is temperror.
func HeloSPF(ctx context.Context, env checks.Env, r *checks.Request) (spf.Evaluation, error) {
	return rememberSPF(ctx, env, r, spf.Helo)
}

type spfKey struct{}

func rememberSPF(ctx context.Context, env checks.Env, r *checks.Request, id spf.Identity) (spf.Evaluation, error) {
	scope, share := checks.MailFrom, clientShare
	if id == spf.Helo {
		scope, share = checks.Helo, 0.5 // MAIL FROM comes after it
	}
	e, err := checks.Remember(r, scope, spfKey{}, func() (spf.Evaluation, error) {
		ctx, cancel := checks.WithShare(ctx, share)
		defer cancel()
		e, err := spf.CheckHost(ctx, env.DNS, spfSubject(r, id, env.Site.Hostname))
		return e, cmp.Or(err, e.WidthErr) // what the DNS did not answer is asked again for the next message
	})
	if e.Result != spf.TempError {
		err = nil
	}
	return e, err
}

func spfSubject(r *checks.Request, id spf.Identity, receiver string) spf.Subject {
	s := spf.Subject{
		Identity: id,
		Client:   r.Client,
		Domain:   strings.ToLower(strings.TrimSuffix(r.Helo, ".")),
		Helo:     r.Helo,
		Receiver: receiver,
		Time:     r.Time,
	}
	if id == spf.MailFrom {
		s.Local, s.Domain = r.Envelope.MailFrom.Local, r.Envelope.MailFrom.Domain
	}
	return s
}

// PrefetchMailFromSPF returns the questions of MailFromSPF. It returns none for a null reverse-path, as PrefetchHeloSPF
// does.
func PrefetchMailFromSPF(r *checks.Request) []checks.Query {
	if r.Envelope.MailFrom.IsNull() {
		return nil
	}
	return spf.Prefetch(spfSubject(r, spf.MailFrom, ""))
}

// PrefetchHeloSPF returns the questions of HeloSPF.
func PrefetchHeloSPF(r *checks.Request) []checks.Query {
	return spf.Prefetch(spfSubject(r, spf.Helo, ""))
}
