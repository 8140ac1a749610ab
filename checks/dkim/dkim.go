// Package dkim is the check of DomainKeys Identified Mail, RFC 6376: whether a domain signed the message that arrived.
//
// facts/dkim verifies signatures, and facts remembers the results. This package turns them into reasons (reasons.go) and into
// results for the trace fields. Its setting limits the signatures that are verified, for the other checks too. Start reading at
// check.Check.
package dkim

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/checks/facts/dkim"
)

// Settings configure the check.
type Settings struct {
	Signatures int `yaml:"signatures" doc:"Signatures of a message that are verified at most, those of the author's domain first; 0: no DKIM and no DMARC, and spf-fail does not wait for them."`
}

// Validate returns an error for a number that is not in the range. Each signature costs a DNS question and up to 0.2 ms of CPU
// time, and facts/dkim reads no more than 100.
func (c Settings) Validate() error {
	if c.Signatures < 0 || c.Signatures > 100 {
		return errors.New("signatures must be from 0 to 100; 0 switches DKIM and DMARC off")
	}
	return nil
}

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "dkim",
	Doc: "Verifies the DKIM signatures of the message (RFC 6376). By itself it refuses nothing by default, as mail without a " +
		"valid signature is common; the checks spf and dmarc use the results.",
	Stages:  []checks.Stage{checks.EndOfMessage},
	Reasons: []*checks.Reason{fail, none},
	Body:    true,
	Public:  true,
}, Settings{Signatures: 5}, func(c Settings, env checks.Env) (checks.Check, error) {
	env.Signatures = c.Signatures
	return &check{env}, nil
})

// maxResults is the number of results in the trace field and in the notes.
const maxResults = 5

type check struct{ env checks.Env }

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query { return facts.PrefetchDKIM(c.env, r) }

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if c.env.Signatures <= 0 {
		return nil, nil
	}
	if !facts.Signed(r) {
		return []checks.Verdict{{Reason: none}}, nil
	}
	results, err := facts.DKIM(ctx, c.env, r)
	c.note(ctx, r, results)
	if slices.ContainsFunc(results, func(res dkim.Result) bool { return res.Status == dkim.Pass }) {
		return nil, nil
	}
	i := slices.IndexFunc(results, func(res dkim.Result) bool { return res.Status == dkim.Fail })
	if i < 0 {
		return nil, err
	}
	mayPass := slices.ContainsFunc(results, func(res dkim.Result) bool {
		return res.Status == dkim.Neutral && c.env.Clock.Doubt(r.Time) != ""
	})
	return []checks.Verdict{{Reason: fail, Detail: detail(results[i]), Unsure: err != nil || mayPass}}, err
}

// note adds the results to the trace.
func (c *check) note(ctx context.Context, r *checks.Request, results []dkim.Result) {
	for _, res := range results[:min(len(results), maxResults)] {
		text := "signature of " + cmp.Or(res.Domain, "an invalid domain") + ": " + string(res.Status)
		if res.Why != "" {
			text += ", " + res.Why
		}
		checks.Note(ctx, text)
	}
	if note := facts.LineEnds(c.env, r); note != "" {
		checks.Note(ctx, note)
	}
}

// detail returns what the reply and the sender's page show of a result.
func detail(res dkim.Result) map[string]string {
	d := map[string]string{"signing_domain": res.Domain, "selector": res.Selector, "problem": res.Why}
	switch {
	case res.BodyChanged && res.HeaderChanged:
		d["changed"] = "header and body"
	case res.BodyChanged:
		d["changed"] = "body"
	case res.HeaderChanged:
		d["changed"] = "header"
	}
	return d
}

// Authenticate implements checks.Authenticator, RFC 8601 section 2.7.1 and RFC 6008.
func (c *check) Authenticate(ctx context.Context, r *checks.Request) []checks.Authentication {
	if c.env.Signatures <= 0 {
		return nil
	}
	results, _ := facts.DKIM(ctx, c.env, r)
	if len(results) == 0 {
		return []checks.Authentication{{Method: "dkim", Result: "none"}}
	}
	var list []checks.Authentication
	for _, res := range results[:min(len(results), maxResults)] {
		list = append(list, checks.Authentication{Method: "dkim", Result: string(res.Status), Comment: res.Why, Properties: []checks.Property{
			{Name: "header.d", Value: res.Domain}, {Name: "header.s", Value: res.Selector},
			{Name: "header.a", Value: res.Algorithm}, {Name: "header.b", Value: res.Signature},
		}})
	}
	return list
}
