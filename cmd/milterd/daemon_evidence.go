package main

import (
	"context"
	"slices"
	"time"

	"milterd/checks"
	"milterd/checks/correspondents"
	"milterd/checks/facts"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/evidence"
)

// openEvidence starts the collection of evidence. current returns the configuration in force.
func openEvidence(env checks.Env, current func() *config.Config, now func() time.Time) *evidence.Collector {
	env.DNS = checks.Traced(env.DNS)
	return evidence.Open(env.Store, evidence.Options{
		Origin: func(ctx context.Context, r *checks.Request) evidence.Origin {
			env, cfg := env, current()
			env.Site = checks.Site{Hostname: cfg.Hostname, LocalDomains: cfg.LocalDomains}
			return originOf(ctx, env, r)
		},
		Authors: authorsOf,
		Known: func(ctx context.Context, pair string, at time.Time) (bool, error) {
			return correspondents.Known(ctx, env.Store, pair, at)
		},
		Now: now,
		Log: env.Log,
	})
}

// authorsOf returns the organisational domains of the authors of a message.
func authorsOf(r *checks.Request) []string {
	var list []string
	for _, domain := range facts.MessageAuthors(r).Domains {
		if org := checks.Organization(domain); !slices.Contains(list, org) {
			list = append(list, org)
		}
	}
	return list
}

// originOf attributes a transaction to its client and sender. If the DNS does not answer, the client is its network,
// and the sender is not verified.
func originOf(ctx context.Context, env checks.Env, r *checks.Request) evidence.Origin {
	from := r.Envelope.MailFrom
	client, _ := facts.ClientIdentity(ctx, env, r)
	origin := evidence.Origin{Client: client.Narrow(), Sender: checks.Organization(from.Domain)}
	if spf, err := facts.MailFromSPF(ctx, env, r); err == nil {
		origin.SPF, _ = spf.Identifies()
	}
	origin.Verified, _ = facts.SenderVerified(ctx, env, r)
	if from.IsNull() && client.Domain != "" {
		origin.Sender, origin.Verified = client.Domain, true
	}
	if from.Local == "" || from.Domain == "" {
		return origin
	}
	for _, rcpt := range r.Envelope.Rcpts {
		origin.Pairs = append(origin.Pairs, correspondents.Pair(from, rcpt.Address))
	}
	return origin
}
