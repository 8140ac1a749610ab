// Package spf asks whether the client may use the domain in MAIL FROM and the name in HELO, by the Sender Policy Framework
// (RFC 7208).
package spf

import (
	"context"
	"slices"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/checks/facts/spf"
)

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "spf",
	Doc: "Evaluates the SPF record of the domain in MAIL FROM, and that of the HELO name (RFC 7208). With the null reverse-path, " +
		"of bounces, the HELO name alone is judged.",
	Stages:       []checks.Stage{checks.Helo, checks.MailFrom},
	Public:       true,
	NotForwarded: true,
	Reasons:      []*checks.Reason{fail, noMail, tooWide, heloFail, softfail, none, permError, tempError},
}, checks.NoSettings{}, func(_ checks.NoSettings, env checks.Env) (checks.Check, error) {
	return &check{env}, nil
})

type check struct{ env checks.Env }

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	if s.Stage == checks.Helo {
		return c.helo(ctx, s)
	}
	return c.mailFrom(ctx, s)
}

// helo judges the HELO identity. Only a fail is a verdict: HELO names without a record, or with a broken one, are nothing
// that their mail could be refused for.
func (c *check) helo(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	if c.ours(s.Helo) {
		return nil, nil
	}
	r, err := facts.HeloSPF(ctx, c.env, s)
	if r.Result == spf.Fail {
		return verdict(heloFail, r), nil
	}
	return nil, err
}

// Authenticate implements checks.Authenticator, RFC 8601 section 2.7.2.
func (c *check) Authenticate(ctx context.Context, s *checks.Request) []checks.Authentication {
	r, _ := facts.MailFromSPF(ctx, c.env, s)
	property := "smtp.mailfrom"
	if r.Identity == spf.Helo {
		property = "smtp.helo"
	}
	if r.Domain == "" {
		return nil
	}
	return []checks.Authentication{{Method: "spf", Result: string(r.Result), Properties: map[string]string{property: r.Domain}}}
}

// ours tells whether a HELO name is one of this site, which the check helo judges: it knows hosts that may use them.
func (c *check) ours(helo string) bool {
	same := func(name string) bool { return name != "" && checks.SameName(helo, name) }
	return same(c.env.Site.Hostname) || slices.ContainsFunc(c.env.Site.LocalDomains, same)
}

// mailFrom judges the MAIL FROM identity. A temperror has a reason of its own, so it is no error beside; but if it is our
// own time that ran out, it is both, for the blame is not the domain's alone.
func (c *check) mailFrom(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	if s.Envelope.MailFrom.IsNull() {
		return nil, nil
	}
	r, err := facts.MailFromSPF(ctx, c.env, s)
	if r.Domain == "" {
		return nil, nil // an address literal, or nothing that could be parsed
	}
	switch r.Result {
	case spf.Fail:
		if r.NoMail {
			return verdict(noMail, r), nil
		}
		return verdict(fail, r), nil
	case spf.Pass:
		if r.TooWide {
			return verdict(tooWide, r), nil
		}
		if r.WidthErr != nil {
			// The client passes. Whether nobody would pass too is not worth an error, unless there was no time to ask.
			return nil, ctx.Err()
		}
		return nil, nil
	case spf.SoftFail:
		return verdict(softfail, r), nil
	case spf.None:
		return verdict(none, r), nil
	case spf.PermError:
		return verdict(permError, r), nil
	case spf.TempError:
		vs := verdict(tempError, r)
		vs[0].Detail["cause"] = err.Error() // for the log: it tells of our servers
		return vs, ctx.Err()
	default: // neutral: the record says nothing about the client
		return nil, nil
	}
}

func verdict(reason *checks.Reason, r spf.Evaluation) []checks.Verdict {
	detail := map[string]string{"domain": r.Domain, "spf": string(r.Result), "match": r.Match, "problem": r.Problem, "explains": ""}
	if r.By != r.Domain && r.By != "" {
		detail["match"] = r.Match + " of " + r.By
	}
	if r.Explanation != "" {
		detail["explains"] = "; " + r.Domain + " explains: " + r.Explanation
	}
	return []checks.Verdict{{Reason: reason, Detail: detail}}
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(s *checks.Request) []checks.Query {
	switch {
	case s.Stage == checks.Helo && !c.ours(s.Helo):
		return facts.PrefetchHeloSPF(s)
	case s.Stage == checks.MailFrom:
		return facts.PrefetchMailFromSPF(s)
	default:
		return nil
	}
}
