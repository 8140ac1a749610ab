// Package dnsbl looks up the client's address and confirmed names, the HELO name and the sender's domain in DNS lists (RFC
// 5782): block lists refuse, allow lists vouch.
//
// Lists die, are sold, answer unwanted queries with an address, or list the whole world. So an answer counts only if it is one
// of the codes in the settings, and a list is asked only while it is healthy.
//
// dnsbl.go has the check, subject.go what is looked up, codes.go the meaning of answers, verdict.go the verdicts; zone.go has
// the state of a list and the rule that finds one of the whole world, health.go its tests, and keys.go hides API keys. Confirmed
// names come from package facts. Start with Check.
package dnsbl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/facts"
)

const checkName = "dnsbl"

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: checkName,
	Doc: "Looks up the client's address, its confirmed names, the HELO name and the sender's domain in DNS lists. Only a code that " +
		"is configured for the zone is a listing. A zone is switched off when its test points (RFC 5782) or its answers show that " +
		"it is dead or refuses the queries, until its test points are right again. A zone that listed the last 12 client networks, " +
		"whatever it was asked about them, is taken to list the world: its listings do not count until it does not list a network.",
	Stages:       []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom},
	Reasons:      []*checks.Reason{listed, nameListed},
	Vouches:      true,
	NotForwarded: true,
}, Settings{Health: 30 * time.Minute}, build)

// maxWait is how long a session waits for all zones together: a lost packet and the repeated question at the default of
// dns.timeout. With half of it, a lost packet loses a listing; with double, a dead zone delays mail for six seconds.
const maxWait = 3 * time.Second

type check struct {
	env   checks.Env
	zones []*zone // in the order of the settings
}

var (
	_ checks.Prefetcher = (*check)(nil)
	_ checks.Maintainer = (*check)(nil)
	_ checks.Reloader   = (*check)(nil)
)

func build(c Settings, env checks.Env) (checks.Check, error) {
	dnsbl := &check{env: env}
	for _, z := range c.Zones {
		dnsbl.zones = append(dnsbl.zones, newZone(z, c.Health, env.Log))
	}
	return dnsbl, nil
}

// lookup is one question to a zone.
type lookup struct {
	*zone
	subject
}

func (l lookup) question(t uint16) checks.Question { return checks.Ask(l.labels+"."+l.domain, t) }

// Check implements checks.Check. An allow list that is switched off may have a vouch, as one that does not answer.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	lookups, err := c.lookups(ctx, r)
	verdicts, errZones := c.lookUp(ctx, r, lookups)
	failed := func(z *zone) bool {
		return z.Query.stage() == r.Stage && (err != nil || errZones != nil || z.current() != on)
	}
	if slices.ContainsFunc(c.zones, func(z *zone) bool { return z.Allow && failed(z) }) {
		verdicts = append(verdicts, checks.Verdict{Vouch: checks.SkipDelays, Unsure: true})
	}
	return verdicts, cmp.Or(err, errZones)
}

// lookUp asks the zones, updates their states, and returns the verdicts.
func (c *check) lookUp(ctx context.Context, r *checks.Request, lookups []lookup) (_ []checks.Verdict, err error) {
	if len(lookups) == 0 {
		return nil, nil
	}
	limited, cancel := checks.WithTimeout(ctx, maxWait)
	defer cancel()
	questions := make([]checks.Question, len(lookups))
	for i, l := range lookups {
		questions[i] = l.question(dns.TypeA)
	}
	var hits []hit
	for i, result := range checks.LookupAll(limited, c.env.DNS, questions...) {
		l := lookups[i]
		if result.Err != nil {
			if l.current() == on {
				err = cmp.Or(err, fmt.Errorf("%s in %s: %w", l.shown, l.name, redacted{error: result.Err, text: hide(l.keys, result.Err.Error())}))
			}
			if ctx.Err() != nil {
				continue // the session has no time left, which is no failure of the zone
			}
		}
		if codes := l.observe(r.Time, r.Client, result); codes != "" {
			hits = append(hits, hit{lookup: l, codes: codes})
		}
	}
	return c.verdicts(limited, hits), err
}

// lookups returns the lookups for the stage. With an error, some are missing.
func (c *check) lookups(ctx context.Context, r *checks.Request) ([]lookup, error) {
	switch r.Stage {
	case checks.Connect:
		list := c.lookupsOf(clientSubject(r.Client))
		if !c.asks(ClientName) {
			return list, nil
		}
		names, err := facts.Iprev(ctx, c.env, r)
		for _, name := range names.Confirmed {
			list = append(list, c.lookupsOf(clientNameSubject(r.Client, name))...)
		}
		return list, err
	case checks.Helo:
		return c.lookupsOf(nameSubject(Helo, "HELO name", r.Helo)), nil
	case checks.MailFrom:
		return c.lookupsOf(nameSubject(Sender, "sender domain", r.Envelope.MailFrom.Domain)), nil
	}
	return nil, nil
}

// lookupsOf returns the lookups of a subject in the zones for it that are in use.
func (c *check) lookupsOf(s subject) []lookup {
	var list []lookup
	for _, z := range c.zones {
		if z.Query == s.query && z.current().asked() && !(z.Allow && s.pool) {
			list = append(list, lookup{zone: z, subject: s})
		}
	}
	return list
}

// asks reports whether a zone for the query is in use.
func (c *check) asks(q Query) bool {
	return slices.ContainsFunc(c.zones, func(z *zone) bool { return z.Query == q && z.current().asked() })
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query {
	if r.Stage != checks.Connect {
		list, _ := c.lookups(context.Background(), r) // asks the DNS only at Connect
		return queries(list)
	}
	list := queries(c.lookupsOf(clientSubject(r.Client)))
	if c.asks(ClientName) {
		list = append(list, c.nameQueries(r)...)
	}
	return list
}

// nameQueries returns the queries for the client's confirmed names, which are followed by the lookups of each name.
func (c *check) nameQueries(r *checks.Request) []checks.Query {
	client := r.Client
	list := facts.PrefetchIprev(r)
	for i, ptr := range list {
		list[i].Key = nil // other queries follow than for facts.Iprev alone
		list[i].Then = func(a checks.Answer) []checks.Query {
			forward := ptr.Then(a)
			for j, q := range forward {
				forward[j].Then = func(a checks.Answer) []checks.Query {
					if !slices.Contains(checks.Addresses(a), client) {
						return nil // not confirmed
					}
					return queries(c.lookupsOf(clientNameSubject(client, q.Name)))
				}
			}
			return forward
		}
	}
	return list
}

// queries returns the queries of lookups. A listing is followed by the question for its text.
func queries(lookups []lookup) []checks.Query {
	var list []checks.Query
	for _, l := range lookups {
		q := checks.Query{Question: l.question(dns.TypeA)}
		if !l.Allow {
			q.Then = func(a checks.Answer) []checks.Query {
				if read(a, l.Codes).listing == "" {
					return nil
				}
				return checks.Queries(l.question(dns.TypeTXT))
			}
		}
		list = append(list, q)
	}
	return list
}
