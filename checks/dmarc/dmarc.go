// Package dmarc is the check of Domain-based Message Authentication, Reporting, and Conformance, RFC 9989: whether SPF or DKIM
// shows that a message comes from the domain in its From field, and if not, what the owner of that domain asks for.
//
// facts/dmarc evaluates policies, and facts remembers the result. This package determines whether the message was passed on, which
// may have broken its authentication (indirect.go). It turns both into reasons (reasons.go) and into a result for the trace fields.
// reports.go counts the results for the aggregate reports to the domains, which package report sends. Start reading at check.Check.
package dmarc

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"milterd/checks"
	"milterd/checks/dmarc/report"
	"milterd/checks/facts"
	"milterd/checks/facts/dkim"
	"milterd/checks/facts/dmarc"
)

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "dmarc",
	Doc: "Evaluates the DMARC policy of the domain in From (RFC 9989). RFC 9989 asks receivers not to refuse for p=reject alone: this " +
		"check refuses unless the message comes by way of a forwarder or a mailing list, which it knows by the configuration, by the " +
		"evidence of earlier mail, or by the fields of the message.",
	Stages: []checks.Stage{checks.EndOfMessage},
	Reasons: []*checks.Reason{
		rejected, quarantined, fromList, indirect, failed, authNone, fromUnaligned,
	},
	Body:   true,
	Public: true,
}, Settings{
	Trusted: []string{}, ListMarks: true, Relays: true, Ignore: []string{}, Reports: report.Settings{Submit: "127.0.0.1:25"},
}, func(c Settings, env checks.Env) (checks.Check, error) {
	trusted, err := parseTrusted(c.Trusted)
	if err != nil {
		return nil, err
	}
	ignored, err := parseIgnored(c.Ignore)
	return &check{Settings: c, env: env, trusted: trusted, ignored: ignored, reporter: report.New(c.Reports, env)}, err
})

type check struct {
	Settings
	env     checks.Env
	trusted checks.Forwarders
	ignored []string

	reporter *report.Reporter // nil: no reports are sent
}

var (
	_ checks.Observer   = (*check)(nil)
	_ checks.Maintainer = (*check)(nil)
	_ checks.Reloader   = (*check)(nil)
)

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query {
	switch r.Stage {
	case checks.Connect:
		return facts.PrefetchIdentity(r)
	case checks.MailFrom:
		return slices.Concat(facts.PrefetchIdentity(r), facts.PrefetchDMARC(c.env, r))
	case checks.Helo:
		return facts.PrefetchHeloSPF(r) // for a null reverse-path
	default:
		return facts.PrefetchDMARC(c.env, r)
	}
}

// Check implements checks.Check. It returns nothing without the address of the client: a failing message might pass by SPF.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if c.env.Signatures <= 0 || !r.Client.IsValid() {
		return nil, nil
	}
	e, err := c.evaluate(ctx, r)
	c.noteWidth(ctx, r, e)
	c.rememberForReport(r, e)
	var verdicts []checks.Verdict
	p := c.pathOf(ctx, r, e)
	add := func(reason *checks.Reason, missed error) {
		if reason != nil {
			verdicts = append(verdicts, checks.Verdict{Reason: reason, Detail: c.detail(ctx, r, e, p), Unsure: missed != nil})
			err = cmp.Or(err, missed)
		}
	}
	add(c.failure(e, p))
	if p.reason == indirect {
		return verdicts, err // a message that was passed on may have lost its authentication
	}
	reason, errAuth := c.unauthenticated(ctx, r, e)
	add(reason, p.missed)
	return verdicts, cmp.Or(err, errAuth)
}

// evaluate evaluates the author domains. An ignored one does not hide another beside it.
func (c *check) evaluate(ctx context.Context, r *checks.Request) (dmarc.Evaluation, error) {
	authors := facts.MessageAuthors(r).Evaluated()
	others := slices.DeleteFunc(slices.Clone(authors), func(a string) bool { return under(a, c.ignored) })
	if len(others) == 0 || len(others) == len(authors) {
		return facts.DMARC(ctx, c.env, r)
	}
	return facts.DMARCOf(ctx, c.env, r, others)
}

// noteWidth notes a pass by an SPF record that is too wide.
func (c *check) noteWidth(ctx context.Context, r *checks.Request, e dmarc.Evaluation) {
	if e.Result != dmarc.Pass || e.Aligned[0].Method != "spf" {
		return
	}
	if ev, _ := facts.MailFromSPF(ctx, c.env, r); ev.TooWide {
		checks.Note(ctx, "passes DMARC by an SPF record that lets any host send: "+ev.Match)
	}
}

// failure returns the reason for a message that fails, or has too many author domains, of which RFC 9989 section 11.5 warns. It returns
// nil if there is none. With an error the message might pass, or might have been passed on.
func (c *check) failure(e dmarc.Evaluation, p path) (*checks.Reason, error) {
	switch {
	case e.Result == dmarc.PermError && p.reason != indirect: // some domains were not evaluated, and each may have a policy
		return quarantined, p.missed
	case e.Result != dmarc.Fail || under(e.Author, c.ignored):
		return nil, nil
	case e.Applied == dmarc.NoPolicy:
		return failed, e.Missed
	case p.reason == indirect:
		return indirect, e.Missed
	case p.reason != nil:
		return p.reason, cmp.Or(e.Missed, p.missed)
	case e.Applied == dmarc.Quarantine:
		return quarantined, cmp.Or(e.Missed, p.missed)
	default:
		return rejected, cmp.Or(e.Missed, p.missed)
	}
}

// unauthenticated returns the reason for a message without an identifier that passes, or for one without a DMARC record and without an
// aligned identifier that passes. Otherwise it returns nil.
func (c *check) unauthenticated(ctx context.Context, r *checks.Request, e dmarc.Evaluation) (*checks.Reason, error) {
	var passed, missed []dmarc.Identifier
	for _, id := range facts.Identifiers(ctx, c.env, r) {
		switch id.State {
		case dmarc.Passed:
			passed = append(passed, id)
		case dmarc.Unknown:
			missed = append(missed, id)
		}
	}
	if len(passed) > 0 && e.Result != dmarc.None {
		return nil, nil
	}
	aligned, err := c.anyAligned(ctx, r, passed)
	missedAligned, errMissed := c.anyAligned(ctx, r, missed)
	for _, id := range missed {
		// A missing key of another domain changes nothing: any forger could add a signature with one.
		if missedAligned || id.Method == "spf" && len(passed) == 0 {
			errMissed = cmp.Or(errMissed, id.Err)
		}
	}
	switch err = cmp.Or(err, errMissed); {
	case len(passed) > 0 && (e.Author == "" || aligned || under(e.Author, c.ignored)):
		return nil, nil
	case err != nil:
		return nil, err
	case len(passed) == 0:
		return authNone, nil
	default:
		return fromUnaligned, nil
	}
}

// anyAligned reports whether an identifier aligns with an author domain, whatever its state.
func (c *check) anyAligned(ctx context.Context, r *checks.Request, ids []dmarc.Identifier) (bool, error) {
	var missed error
	for _, author := range facts.MessageAuthors(r).Domains {
		for _, id := range ids {
			is, err := facts.Aligned(ctx, c.env, r, author, id.Domain)
			if is {
				return true, nil
			}
			missed = cmp.Or(missed, err)
		}
	}
	return false, missed
}

const (
	maxShown  = 5   // signatures that a reply or page shows
	maxRecord = 500 // bytes of a DMARC record that a page shows
)

// detail returns what the reply, the log and the sender's page show of a message.
func (c *check) detail(ctx context.Context, r *checks.Request, e dmarc.Evaluation, p path) map[string]string {
	ofSPF := "none"
	if ev, _ := facts.MailFromSPF(ctx, c.env, r); ev.Domain != "" {
		ofSPF = string(ev.Result) + " for " + ev.Domain
	}
	signatures, keys := c.signatures(ctx, r)
	passed := slices.DeleteFunc(facts.Identifiers(ctx, c.env, r), func(id dmarc.Identifier) bool { return id.State != dmarc.Passed })
	domain := e.Author
	if e.Result == dmarc.PermError {
		domain = "one of many domains in From"
	}
	return map[string]string{
		"domain": domain, "author_domain": e.Author, "policy_domain": e.PolicyDomain, "policy": e.Applied.String(),
		"record": e.Record.Text[:min(len(e.Record.Text), maxRecord)], "path": p.text, "list": p.list,
		"spf": ofSPF, "dkim": cmp.Or(signatures, "no signature"), "keys": keys,
		"passes": describe(passed), "aligned": describe(e.Aligned),
	}
}

// signatures returns the results of the first signatures, and the names of their key records.
func (c *check) signatures(ctx context.Context, r *checks.Request) (text, keys string) {
	var texts, names []string
	results, _ := facts.DKIM(ctx, c.env, r)
	for _, res := range results[:min(len(results), maxShown)] {
		result := string(res.Status) + " for " + res.Domain
		if res.Status != dkim.Pass {
			result += " (" + res.Why + ")"
		}
		texts = append(texts, result)
		if res.Domain != "" && res.Selector != "" {
			names = append(names, res.KeyName())
		}
	}
	return strings.Join(texts, ", "), strings.Join(names, " ")
}

// describe returns the domains and methods of identifiers: "example.net (SPF), example.org (DKIM)".
func describe(ids []dmarc.Identifier) string {
	var texts []string
	for _, id := range ids {
		texts = append(texts, id.Domain+" ("+strings.ToUpper(id.Method)+")")
	}
	return strings.Join(texts, ", ")
}

// Authenticate implements checks.Authenticator, RFC 9989 section 9.1. Without the address of the client, only a pass is certain.
func (c *check) Authenticate(ctx context.Context, r *checks.Request) []checks.Authentication {
	if c.env.Signatures <= 0 {
		return nil
	}
	e, _ := c.evaluate(ctx, r)
	if !r.Client.IsValid() && e.Result != dmarc.Pass {
		return nil
	}
	properties := []checks.Property{{Name: "header.from", Value: e.Author}}
	if e.PolicyDomain != "" {
		properties = append(properties,
			checks.Property{Name: "policy.published-domain-policy", Value: e.Published.String()},
			checks.Property{Name: "policy.applied-disposition", Value: c.disposition(ctx, r, e).String()})
	}
	return []checks.Authentication{{Method: "dmarc", Result: string(e.Result), Comment: c.comment(ctx, r, e), Properties: properties}}
}

// disposition returns what this site does with an accepted message, in the words of RFC 9990: quarantine or none.
func (c *check) disposition(ctx context.Context, r *checks.Request, e dmarc.Evaluation) dmarc.Policy {
	reason, _ := c.failure(e, c.pathOf(ctx, r, e))
	if reason != nil && r.Action(reason) == checks.Quarantine {
		return dmarc.Quarantine
	}
	return dmarc.NoPolicy
}

// comment returns why the result is not pass.
func (c *check) comment(ctx context.Context, r *checks.Request, e dmarc.Evaluation) string {
	switch e.Result {
	case dmarc.Fail:
		if p := c.pathOf(ctx, r, e); p.text != "" {
			return p.text
		}
		return fmt.Sprintf("no aligned pass of SPF or DKIM, p=%s", e.Applied)
	case dmarc.TempError:
		return "a DNS server did not answer"
	case dmarc.PermError:
		return "too many author domains"
	case dmarc.None:
		if e.Author == "" {
			return "no author domain"
		}
		return "no record"
	default:
		return ""
	}
}
