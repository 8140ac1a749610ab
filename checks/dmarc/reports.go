package dmarc

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/dmarc/report"
	"milterd/checks/facts"
	"milterd/checks/facts/dkim"
	"milterd/checks/facts/dmarc"
	"milterd/checks/facts/dmarc/aggregate"
	"milterd/headers"
)

type reportKey struct{}

// rememberForReport remembers the result of the message for Observe.
func (c *check) rememberForReport(r *checks.Request, e dmarc.Evaluation) {
	if c.reporter != nil {
		_, _ = checks.Remember(r, checks.EndOfMessage, reportKey{}, func() (*dmarc.Evaluation, error) { return &e, nil })
	}
}

// Observe implements checks.Observer. It counts a message that is accepted, or refused for good, for the report to its policy domain.
// A deferred one comes again. It asks the DNS nothing.
func (c *check) Observe(ctx context.Context, r *checks.Request, e checks.Event) {
	refused := e.Kind == checks.Refused && e.Stage == checks.EndOfMessage && e.Reply.Code >= 500
	if c.reporter == nil || e.Kind != checks.Accepted && !refused {
		return
	}
	evaluation, _ := checks.Remember(r, checks.EndOfMessage, reportKey{}, func() (*dmarc.Evaluation, error) { return nil, nil })
	if evaluation == nil || evaluation.PolicyDomain == "" || !evaluation.Record.Reports {
		return // an earlier check refused the message, or nobody wants a report
	}
	if evaluation.Result != dmarc.Pass && evaluation.Result != dmarc.Fail || evaluation.Result == dmarc.Pass && c.aboutReports(r) {
		return
	}
	c.reporter.Count(r.Time, c.rowOf(ctx, r, *evaluation, e, refused))
}

// aboutReports reports whether a message is a report, or an answer to a report of this site. If those were counted, two sites would
// report to each other about their reports each day.
func (c *check) aboutReports(r *checks.Request) bool {
	isSubject := func(f headers.Field) bool {
		return f.Is("Subject") && strings.HasPrefix(strings.ToLower(strings.TrimSpace(f.Value)), "report domain:")
	}
	return slices.ContainsFunc(r.Envelope.Header, isSubject) || !slices.ContainsFunc(r.Envelope.Rcpts, func(rcpt checks.Recipient) bool {
		return rcpt.Refused == "" && !strings.EqualFold(rcpt.Text, c.Reports.From) && !strings.EqualFold(rcpt.Text, "<"+c.Reports.From+">")
	})
}

// policyReasons are the reasons that follow from the policy of the domain.
var policyReasons = []*checks.Reason{rejected, quarantined, fromList, indirect, failed}

// maxName is the length of a domain name as text, in bytes.
const maxName = 253

// maxRowSignatures is the number of signatures in a row. RFC 9990 section 3.1.3 allows 100, but a sender chooses them.
const maxRowSignatures = 3

func (c *check) rowOf(ctx context.Context, r *checks.Request, e dmarc.Evaluation, event checks.Event, refused bool) report.Row {
	w := report.Row{PolicyDomain: e.PolicyDomain, StrictDKIM: e.Record.StrictDKIM, StrictSPF: e.Record.StrictSPF, Passed: e.Result == dmarc.Pass}
	for _, id := range e.Aligned {
		switch {
		case id.State != dmarc.Passed:
		case id.Method == "spf":
			w.SPF = "pass"
		default:
			w.DKIM = "pass"
		}
	}
	w.Source, w.HeaderFrom, w.EnvelopeFrom = r.Client, e.Author, r.Envelope.MailFrom.Domain
	switch {
	case w.Passed && e.Applied == dmarc.NoPolicy:
		w.Disposition = "none"
	case w.Passed:
		w.Disposition = "pass"
	default:
		applied := dmarc.NoPolicy
		if refused && slices.Contains(policyReasons, event.Reason) {
			applied = dmarc.Reject
		} else if !refused {
			applied = c.disposition(ctx, r, e)
		}
		w.Disposition = applied.String()
		w.Overrides = overrides(e, applied, c.pathOf(ctx, r, e))
	}
	results, _ := facts.DKIM(ctx, c.env, r)
	results = slices.Clone(results)
	slices.SortStableFunc(results, func(a, b dkim.Result) int { return cmp.Compare(rank(a, e.Author), rank(b, e.Author)) })
	for _, res := range results {
		if res.Domain != "" && res.Selector != "" && len(w.Signatures) < maxRowSignatures {
			w.Signatures = append(w.Signatures, aggregate.Signature{Domain: res.Domain, Selector: res.Selector, Result: string(res.Status)})
		}
	}
	if ev, _ := facts.MailFromSPF(ctx, c.env, r); ev.Domain != "" {
		w.Sender = aggregate.SPFResult{Domain: checks.Clean(ev.Domain, maxName), Result: string(ev.Result)} // of HELO it may be any text
	}
	return w
}

// rank orders signatures for a report, RFC 9990 section 3.1.3.
func rank(r dkim.Result, author string) int {
	switch {
	case r.Status == dkim.Pass && r.Domain == author:
		return 0
	case r.Status == dkim.Pass && checks.OrgDomain(r.Domain) == checks.OrgDomain(author):
		return 1
	case r.Status == dkim.Pass:
		return 2
	default:
		return 3
	}
}

// overrides returns why what was done is not what the record asks for, RFC 9990 section 3.1.6.
func overrides(e dmarc.Evaluation, applied dmarc.Policy, p path) []string {
	switch {
	case applied == e.Published:
		return nil
	case applied == e.Applied:
		return []string{"policy_test_mode"} // t=y
	case p.list != "":
		return []string{"mailing_list"}
	case p.reason == indirect:
		return []string{"trusted_forwarder"}
	default:
		return []string{"local_policy"}
	}
}

// ReporterOf returns the Reporter of a check, or nil if it sends no reports.
func ReporterOf(c checks.Check) *report.Reporter {
	if c, ok := c.(*check); ok {
		return c.reporter
	}
	return nil
}

// Reload implements checks.Reloader. The check of a simulation, which has a store of its own, does not count for the reports of the daemon.
func (c *check) Reload(old checks.Check) {
	if o, ok := old.(*check); ok && o.reporter != nil && c.reporter != nil && o.env.Store == c.env.Store {
		c.reporter.Adopt(o.reporter)
	}
}

// Maintain implements checks.Maintainer.
func (c *check) Maintain(ctx context.Context, now time.Time) {
	if c.reporter != nil {
		c.reporter.Maintain(ctx, now)
	}
}

// Report implements checks.Maintainer.
func (c *check) Report() []checks.Condition {
	if c.reporter == nil {
		return nil
	}
	return []checks.Condition{c.reporter.Condition()}
}
