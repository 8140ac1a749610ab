// Package spf is the check of the Sender Policy Framework, RFC 7208: whether the client may use the domain in MAIL FROM and
// the name in HELO.
//
// Forwarding breaks SPF, and keeps DKIM signatures. So spf-fail waits for the end of the message, unless DKIM is off.
//
// facts/spf evaluates policies, and facts remembers the results. This package turns them into reasons (reasons.go) and into
// results for the trace fields. Start reading at check.Check.
package spf

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/checks/facts/spf"
)

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "spf",
	Doc: "Evaluates the SPF record of the domain in MAIL FROM, and that of the HELO name (RFC 7208). With the null reverse-path " +
		"of bounces, only the HELO name is evaluated. A failure of MAIL FROM is judged at the end of the message: a DKIM signature " +
		"of the domain in From or MAIL FROM shows that the mail is genuine and was forwarded.",
	Stages:       []checks.Stage{checks.Helo, checks.MailFrom, checks.EndOfMessage},
	Body:         true,
	Public:       true,
	NotForwarded: true,
	Reasons:      []*checks.Reason{fail, noMail, tooWide, heloFail, softfail, none, permError, tempError},
}, checks.NoSettings{}, func(_ checks.NoSettings, env checks.Env) (checks.Check, error) {
	return &check{env}, nil
})

type check struct{ env checks.Env }

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query {
	switch {
	case r.Stage == checks.Helo && !c.isOurs(r.Helo):
		return facts.PrefetchHeloSPF(r)
	case r.Stage == checks.MailFrom:
		return facts.PrefetchMailFromSPF(r)
	default:
		return facts.PrefetchDKIM(c.env, r)
	}
}

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	switch r.Stage {
	case checks.Helo:
		return c.checkHelo(ctx, r)
	case checks.MailFrom:
		return c.checkMailFrom(ctx, r)
	default:
		return c.checkMessage(ctx, r)
	}
}

// checkHelo checks the HELO identity. Results other than fail have no reason: many HELO names of honest hosts have no SPF
// record, or a wrong one.
func (c *check) checkHelo(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if c.isOurs(r.Helo) {
		return nil, nil
	}
	ev, err := facts.HeloSPF(ctx, c.env, r)
	if ev.Result == spf.Fail {
		return verdict(heloFail, ev), nil
	}
	return nil, err
}

// isOurs reports whether a HELO name is one of this site. The check helo has a reason for these.
func (c *check) isOurs(helo string) bool {
	same := func(name string) bool { return name != "" && checks.SameName(helo, name) }
	return same(c.env.Site.Hostname) || slices.ContainsFunc(c.env.Site.LocalDomains, same)
}

// checkMailFrom checks the MAIL FROM identity. A temperror has a reason and is no error of the check, unless the time of the check ran
// out: the domain may not be at fault then.
func (c *check) checkMailFrom(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if r.Envelope.MailFrom.IsNull() {
		return nil, nil
	}
	ev, err := facts.MailFromSPF(ctx, c.env, r)
	if ev.Domain == "" {
		return nil, nil
	}
	switch ev.Result {
	case spf.Pass:
		if ev.TooWide {
			return verdict(tooWide, ev), nil
		}
		if ev.WidthErr != nil {
			return nil, outOfTime(ev.WidthErr) // a failure of the DNS does not matter, as the client passes
		}
	case spf.Fail:
		if ev.NoMail {
			return verdict(noMail, ev), nil
		}
		if c.env.Signatures <= 0 || r.EnvelopeOnly() {
			return verdict(fail, ev), nil
		}
	case spf.SoftFail:
		return verdict(softfail, ev), nil
	case spf.None:
		return verdict(none, ev), nil
	case spf.PermError:
		return verdict(permError, ev), nil
	case spf.TempError:
		verdicts := verdict(tempError, ev)
		verdicts[0].Detail["cause"] = err.Error() // for the log only: it may name DNS servers of the site
		return verdicts, outOfTime(err)
	}
	return nil, nil
}

// outOfTime returns the error of a look-up if the time for it ran out, or nil. That time is only a share of the time of the check.
func outOfTime(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// checkMessage checks whether signatures excuse a failure of MAIL FROM: one of the domain in MAIL FROM, or one of each author domain.
func (c *check) checkMessage(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if c.env.Signatures <= 0 || r.Envelope.MailFrom.IsNull() {
		return nil, nil
	}
	ev, _ := facts.MailFromSPF(ctx, c.env, r)
	if ev.Result != spf.Fail || ev.NoMail {
		return nil, nil
	}
	signed, err := facts.SignedBy(ctx, c.env, r, ev.Domain)
	if !signed {
		byAuthors, errAuthors := c.signedByAuthors(ctx, r)
		signed, err = byAuthors, cmp.Or(err, errAuthors)
	}
	if signed {
		checks.Note(ctx, "a DKIM signature shows that the mail is genuine")
		return nil, nil
	}
	verdicts := verdict(fail, ev)
	verdicts[0].Unsure = err != nil
	return verdicts, err
}

// maxAuthors is the number of author domains that may all have signed. Package facts keeps one more, as there may be many.
const maxAuthors = 5

// signedByAuthors reports whether a signature of each author domain passes. One is not enough, as the sender could add an author for
// whom he can sign. With an error it is false and might be true.
func (c *check) signedByAuthors(ctx context.Context, r *checks.Request) (bool, error) {
	a := facts.MessageAuthors(r)
	if len(a.Domains) == 0 || len(a.Domains) > maxAuthors || len(a.Invalid) > 0 {
		return false, nil
	}
	var missed error
	for _, domain := range a.Domains {
		signed, err := facts.SignedBy(ctx, c.env, r, domain)
		switch {
		case signed:
		case err != nil:
			missed = err
		default:
			return false, nil
		}
	}
	return missed == nil, missed
}

func verdict(reason *checks.Reason, ev spf.Evaluation) []checks.Verdict {
	detail := map[string]string{
		"domain": ev.Domain, "spf": string(ev.Result), "match": ev.Match, "problem": ev.Problem, "explains": "",
	}
	if ev.By != ev.Domain && ev.By != "" {
		detail["match"] = ev.Match + " of " + ev.By
	}
	if ev.Explanation != "" {
		detail["explains"] = "; " + ev.Domain + " explains: " + ev.Explanation
	}
	return []checks.Verdict{{Reason: reason, Detail: detail}}
}

// Authenticate implements checks.Authenticator, RFC 8601 section 2.7.2.
func (c *check) Authenticate(ctx context.Context, r *checks.Request) []checks.Authentication {
	ev, _ := facts.MailFromSPF(ctx, c.env, r)
	if ev.Domain == "" {
		return nil
	}
	property := checks.Property{Name: "smtp.mailfrom", Value: ev.Domain}
	if ev.Identity == spf.Helo {
		property.Name = "smtp.helo"
	}
	return []checks.Authentication{{Method: "spf", Result: string(ev.Result), Properties: []checks.Property{property}}}
}
