// Package mxplus asks whether the client is one of the hosts that the sender's domain has for mail: an MX host, or one that
// is named under the domain ("MX+").
//
// As a demand it is for recipients who know what they want: large senders send from other hosts than they receive at, and
// everything forwarded fails. As evidence it is good for everyone: who may put a host into the MX records of a domain, or
// under its name, may send for it, so such mail is not delayed.
package mxplus

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
)

var mismatch = &checks.Reason{
	ID:    "mxplus-mismatch",
	Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{client} is no mail host of {domain}: {seen}"},
	When: "the client is no MX host of the sender's domain, and no confirmed name of it is under the organisational domain of " +
		"the sender",
	Why: "The recipient takes mail only from hosts that evidently belong to the sender's domain: those in its MX records, or " +
		"with a reverse DNS name under it that leads back to the same address. Your host is neither, so the mail may be forged.",
	Remedy: "Send through a host that takes mail for the domain, or give the sending host a reverse DNS name under the domain, " +
		"with an address record of that name that leads back to it.",
	Safe: checks.Off, Strict: checks.Off,
	NotHistory: true, Repair: checks.AddPTR,
}

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "mxplus",
	Doc: "Wants the client to be an MX host of the sender's domain, or to have a confirmed name under its organisational domain " +
		"(by the public suffix list). Many honest senders do not, so set mxplus-mismatch for single recipients in policies. Mail " +
		"from a client that matches is neither greylisted nor called out.",
	Stages:       []checks.Stage{checks.MailFrom},
	Public:       true,
	Reasons:      []*checks.Reason{mismatch},
	Vouches:      true,
	NotForwarded: true,
}, checks.NoSettings{}, func(_ checks.NoSettings, env checks.Env) (checks.Check, error) {
	return &check{env}, nil
})

type check struct{ env checks.Env }

// Check implements checks.Check. The null reverse-path has no domain, and one that cannot be parsed is for others to judge.
func (c *check) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	from := s.Envelope.MailFrom
	switch {
	case !s.Client.IsValid() || s.AuthUser != "":
		return nil, nil // nobody to ask about, or a user of ours, who may be anywhere
	case from.Literal.IsValid():
		return c.literal(s), nil
	case from.Domain == "":
		return nil, nil
	}
	named, errNames := c.named(ctx, s)
	if named == ownName {
		return []checks.Verdict{{Vouch: checks.SkipDelays}}, nil
	}
	is, mx, errMX := c.isMX(ctx, s)
	if is {
		return []checks.Verdict{{Vouch: checks.SkipDelays}}, nil
	}
	if err := cmp.Or(errMX, errNames); err != nil || named == poolName {
		return nil, err
	}
	return []checks.Verdict{{Reason: mismatch, Detail: map[string]string{"seen": c.seen(ctx, s, mx)}}}, nil
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(s *checks.Request) []checks.Query {
	switch s.Stage {
	case checks.Connect:
		return facts.PrefetchIprev(s)
	case checks.MailFrom:
		return facts.PrefetchMX(s)
	default:
		return nil
	}
}

// literal judges user@[192.0.2.1]: that address is the one host which takes mail for it (RFC 5321 section 5.1). It needs no
// DNS, so anybody can have it, and it vouches for nothing.
func (c *check) literal(s *checks.Request) []checks.Verdict {
	literal := s.Envelope.MailFrom.Literal
	if same(literal, s.Client) {
		return nil
	}
	return []checks.Verdict{{Reason: mismatch, Detail: map[string]string{
		"domain": "[" + literal.String() + "]", "seen": "mail for it goes to " + literal.String() + " alone",
	}}}
}

// naming says how the client's confirmed names relate to the sender's domain.
type naming uint8

const (
	otherName naming = iota // none is under it
	poolName                // one is, but a network would give such a name to any of its customers
	ownName                 // one is
)

// named looks for a confirmed name of the client under the sender's domain. Under the organisational domain is enough: the
// sender news@lists.example.net and the host out1.example.net have one owner. A domain that is a public suffix has no
// owner among senders, so only that very name would be its own.
func (c *check) named(ctx context.Context, s *checks.Request) (naming, error) {
	names, _ := facts.Iprev(ctx, c.env, s)
	org := facts.OrgDomain(s.Envelope.MailFrom.Domain)
	found := otherName
	for _, n := range names.Confirmed {
		switch {
		case org == "" || !checks.Under(n, org):
		case facts.PoolName(s.Client, n):
			found = max(found, poolName)
		default:
			return ownName, nil
		}
	}
	return found, names.Unsure(func(n string) bool { return org != "" && checks.Under(n, org) })
}

// isMX looks for the client among the mail hosts of the sender's domain. Without an MX record that is the domain itself.
// The error means that it might be one of them.
func (c *check) isMX(ctx context.Context, s *checks.Request) (bool, facts.MX, error) {
	mx, err := facts.SenderMX(ctx, c.env, s)
	if err != nil {
		return false, mx, err
	}
	for _, h := range mx.Hosts {
		if slices.ContainsFunc(h.Addrs, func(a netip.Addr) bool { return same(a, s.Client) }) {
			return true, mx, nil
		}
		err = cmp.Or(err, h.Err)
	}
	if err == nil && mx.More {
		err = fmt.Errorf("%s is none of the first %d mail hosts of %s, and there are more", s.Client, len(mx.Hosts),
			s.Envelope.MailFrom.Domain)
	}
	return false, mx, err
}

// same compares two addresses, whatever interface the client's came in by.
func same(a, client netip.Addr) bool { return a == client.WithZone("") }

// seen says what was found instead, for the reply.
func (c *check) seen(ctx context.Context, s *checks.Request, mx facts.MX) string {
	const shown = 3
	names, _ := facts.Iprev(ctx, c.env, s) // remembered, and without an error here
	called := "it has no confirmed reverse DNS name"
	if len(names.Confirmed) > 0 {
		called = "it is called " + names.Confirmed[0]
	}
	var hosts []string
	for _, h := range mx.Hosts[:min(shown, len(mx.Hosts))] {
		hosts = append(hosts, h.Name)
	}
	if more := len(mx.Hosts) - shown; more > 0 {
		hosts = append(hosts, fmt.Sprintf("%d more", more))
	}
	if len(hosts) == 0 {
		return called + ", and the domain takes no mail"
	}
	return called + ", and mail for the domain goes to " + strings.Join(hosts, ", ")
}
