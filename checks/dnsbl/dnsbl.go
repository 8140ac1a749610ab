// Package dnsbl asks DNS lists (DNSBL, RFC 5782) about the client's address and confirmed names, the HELO name and the sender's
// domain: block lists, which refuse, and allow lists, which vouch.
//
// Lists have refused everybody's mail more often than any other check: they died and were sold, answered a query that they did
// not want with an address, or listed the world to be rid of their users. So an answer counts only if it is one of the codes
// that the operator named, and a list counts only while it is healthy: see health.go.
package dnsbl

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/facts"
)

const checkName = "dnsbl"

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: checkName,
	Doc: "Asks DNS lists about the client's address, its confirmed names, the HELO name and the sender's domain. Only a code that is " +
		"named for the zone is a listing. A zone whose test points (RFC 5782) or own answers show that it is dead, refuses the " +
		"queries is switched off until its test points are right again. One that listed the last 12 client networks, whatever it " +
		"was asked about them, is taken to list the world and counts for nothing until it does not list one network.",
	Stages:       []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom},
	Reasons:      []*checks.Reason{listed, nameListed},
	Vouches:      true,
	NotForwarded: true,
}, Settings{Health: 30 * time.Minute}, build)

// patience is how long mail waits for the zones, all together: a lost packet and the repeated question at the default of
// dns.timeout. Their answers are mostly there already, as they are announced.
const patience = 3 * time.Second

// Check is the check. All methods are safe for concurrent use.
type Check struct {
	env   checks.Env
	zones []*zone // as configured
}

var (
	_ checks.Check      = (*Check)(nil)
	_ checks.Prefetcher = (*Check)(nil)
	_ checks.Maintainer = (*Check)(nil)
	_ checks.Reloader   = (*Check)(nil)
	_ checks.Maintainer = (*Check)(nil)
)

func build(c Settings, env checks.Env) (checks.Check, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	check := &Check{env: env}
	for _, z := range c.Zones {
		check.zones = append(check.zones, newZone(z, c.Health, env.Log))
	}
	return check, nil
}

// lookup is one question to a zone.
type lookup struct {
	*zone
	subject
}

func (l lookup) question(t uint16) checks.Question { return checks.Ask(l.labels+"."+l.domain, t) }

// Check implements checks.Check. A zone that is late or fails is an error, and never a listing.
func (c *Check) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	c.testBehind(s.Time)
	lookups, err := c.lookups(ctx, s)
	if len(lookups) == 0 {
		return nil, err
	}
	brief, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	questions := make([]checks.Question, len(lookups))
	for i, l := range lookups {
		questions[i] = l.question(dns.TypeA)
	}
	var hits []hit
	for i, f := range checks.LookupAll(brief, c.env.DNS, questions...) {
		l := lookups[i]
		if f.Err != nil {
			if _, on := l.inUse(); on {
				err = cmp.Or(err, fmt.Errorf("%s in %s: %w", l.shown, l.name, l.hideIn(f.Err)))
			}
			if ctx.Err() != nil {
				continue // the session's time is up, whoever used it: no fault of the zone
			}
		}
		if code := l.observe(s.Time, s.Client, f); code != "" {
			hits = append(hits, hit{l, code})
		}
	}
	return c.verdicts(brief, hits), err
}

// lookups lists what to ask at the session's stage. The error is why something is missing.
func (c *Check) lookups(ctx context.Context, s *checks.Request) ([]lookup, error) {
	switch s.Stage {
	case checks.Connect:
		lookups := c.about(clientSubject(s.Client))
		if !c.asks(ClientName) {
			return lookups, nil
		}
		names, err := facts.Iprev(ctx, c.env, s)
		for _, n := range names.Confirmed {
			lookups = append(lookups, c.about(clientNameSubject(s.Client, n))...)
		}
		return lookups, err
	case checks.Helo:
		if c.asks(Helo) {
			return c.about(nameSubject(Helo, "HELO name", s.Helo)), nil
		}
	case checks.MailFrom:
		if c.asks(Sender) {
			return c.about(nameSubject(Sender, "sender domain", s.Envelope.MailFrom.Domain)), nil
		}
	}
	return nil, nil
}

// about lists the lookups of a subject in the zones that are for it and in use.
func (c *Check) about(sub subject, ok bool) []lookup {
	var out []lookup
	for _, z := range c.zones {
		if asked, _ := z.inUse(); ok && asked && z.Query == sub.query && !(z.Allow && sub.pool) {
			out = append(out, lookup{z, sub})
		}
	}
	return out
}

// asks tells whether a zone in use is for such subjects.
func (c *Check) asks(q Query) bool {
	for _, z := range c.zones {
		if asked, _ := z.inUse(); asked && z.Query == q {
			return true
		}
	}
	return false
}

// Prefetch implements checks.Prefetcher.
func (c *Check) Prefetch(s *checks.Request) []checks.Query {
	if s.Stage != checks.Connect {
		// At these stages lookups asks nothing itself.
		lookups, _ := c.lookups(context.Background(), s)
		return ahead(lookups)
	}
	out := ahead(c.about(clientSubject(s.Client)))
	if c.asks(ClientName) {
		out = append(out, c.namesAhead(s)...)
	}
	return out
}

// namesAhead announces the way to the client's confirmed names, and for each that turns out to be one, its lookups.
func (c *Check) namesAhead(s *checks.Request) []checks.Query {
	client := s.Client
	out := facts.PrefetchIprev(s)
	for i, ptr := range out {
		out[i].Key = nil // other questions follow
		out[i].Then = func(a checks.Answer) []checks.Query {
			forward := ptr.Then(a)
			for j, q := range forward {
				forward[j].Then = func(a checks.Answer) []checks.Query {
					if !leadsTo(a, client) {
						return nil
					}
					return ahead(c.about(clientNameSubject(client, q.Name)))
				}
			}
			return forward
		}
	}
	return out
}

// ahead announces lookups, and the text that a zone has for what it lists.
func ahead(lookups []lookup) []checks.Query {
	var out []checks.Query
	for _, l := range lookups {
		q := checks.Query{Question: l.question(dns.TypeA)}
		if !l.Allow {
			q.Then = func(a checks.Answer) []checks.Query {
				if read(a, l.Codes).listed() == "" {
					return nil
				}
				return []checks.Query{{Question: l.question(dns.TypeTXT)}}
			}
		}
		out = append(out, q)
	}
	return out
}
