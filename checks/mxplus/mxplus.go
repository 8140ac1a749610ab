// Package mxplus is the check "MX+": whether the client is an MX host of the sender's domain, or has a confirmed name under
// it. facts looks both up. Start reading at check.Check.
//
// A mismatch is a reason for recipients who ask for it: large senders do not send from their MX hosts, and forwarded mail
// never matches. A match is a vouch for all recipients, as only the owner of a domain can put a host into its MX records or
// under its name.
package mxplus

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"milterd/checks"
	"milterd/checks/facts"
)

var mismatch = &checks.Reason{
	ID:    "mxplus-mismatch",
	Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{client} is no mail host of {domain}: {seen}"},
	When: "the client is no MX host of the sender's domain, and no confirmed name of it is under the organisational domain of " +
		"the sender",
	Why: "The recipient accepts mail only from hosts that belong to the sender's domain: its MX hosts, and hosts whose reverse " +
		"DNS name is under the domain and resolves to the same address. Your server is neither, so the mail may be forged.",
	Remedy: "Send through an MX host of the domain. Or set the PTR record of the sending server to a name under the domain, and " +
		"give that name an address record with the address of the server.",
	Safe: checks.Off, Strict: checks.Off,
	NotHistory: true, Repair: checks.AddPTR,
}

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "mxplus",
	Doc: "Requires that the client is an MX host of the sender's domain, or has a confirmed name under its organisational domain " +
		"(by the public suffix list). Many honest senders do not match, so set mxplus-mismatch for single recipients in " +
		"policies. Mail from a client that matches is neither greylisted nor verified by callout.",
	Stages:       []checks.Stage{checks.MailFrom},
	Public:       true,
	Reasons:      []*checks.Reason{mismatch},
	Vouches:      true,
	NotForwarded: true,
}, checks.NoSettings{}, func(_ checks.NoSettings, env checks.Env) (checks.Check, error) {
	return &check{env: env}, nil
})

type check struct{ env checks.Env }

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query {
	switch r.Stage {
	case checks.Connect:
		return facts.PrefetchIprev(r)
	case checks.MailFrom:
		return facts.PrefetchMX(r)
	default:
		return nil
	}
}

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	from := r.Envelope.MailFrom
	switch {
	case !r.Client.IsValid() || r.AuthUser != "":
		return nil, nil
	case from.Literal.IsValid():
		return checkLiteral(r), nil
	case from.Domain == "":
		return nil, nil
	}
	own, pool, errName := c.nameUnderDomain(ctx, r)
	if own {
		return []checks.Verdict{{Vouch: checks.SkipDelays, Why: "the client has a confirmed name under the sender's domain"}}, nil
	}
	isMX, mx, errMX := c.isMX(ctx, r)
	if isMX {
		return []checks.Verdict{{Vouch: checks.SkipDelays, Why: "the client is a mail host of the sender's domain"}}, nil
	}
	if err := cmp.Or(errMX, errName); err != nil {
		return []checks.Verdict{{Vouch: checks.SkipDelays, Unsure: true}}, err
	}
	if pool {
		return nil, nil
	}
	return []checks.Verdict{{Reason: mismatch, Detail: map[string]string{"seen": c.seen(ctx, r, mx)}}}, nil
}

// checkLiteral checks a sender such as user@[192.0.2.1], whose only mail host has that address, RFC 5321 section 5.1. It
// never vouches: the owner of a domain has no part in it.
func checkLiteral(r *checks.Request) []checks.Verdict {
	literal := r.Envelope.MailFrom.Literal
	if literal == r.Client {
		return nil
	}
	return []checks.Verdict{{Reason: mismatch, Detail: map[string]string{
		"domain": "[" + literal.String() + "]", "seen": "mail for it goes to " + literal.String() + " only",
	}}}
}

// nameUnderDomain reports whether the client has a confirmed name under the organisational domain of the sender, so
// out1.example.net matches news@lists.example.net. pool is a name that networks give to all their customers, own any other one. A
// domain that is a public suffix has no such names.
func (c *check) nameUnderDomain(ctx context.Context, r *checks.Request) (own, pool bool, err error) {
	names, _ := facts.Iprev(ctx, c.env, r)
	org := checks.OrgDomain(r.Envelope.MailFrom.Domain)
	under := func(name string) bool { return org != "" && checks.Under(name, org) }
	for _, n := range names.Confirmed {
		switch {
		case !under(n):
		case facts.ClientPoolName(r, n):
			pool = true
		default:
			return true, pool, nil
		}
	}
	return false, pool, names.Unsure(under)
}

// isMX looks for the client among the mail hosts of the sender's domain. With an error the client may be one of them.
func (c *check) isMX(ctx context.Context, r *checks.Request) (bool, facts.MX, error) {
	mx, err := facts.SenderMX(ctx, c.env, r)
	for _, h := range mx.Hosts {
		if slices.Contains(h.Addrs, r.Client) {
			return true, mx, nil
		}
		err = cmp.Or(err, h.Err)
	}
	if err == nil && mx.More {
		err = fmt.Errorf("%s is none of the first %d mail hosts of %s, which has more", r.Client, len(mx.Hosts), r.Envelope.MailFrom.Domain)
	}
	return false, mx, err
}

// seen returns the names of the client and of the mail hosts, for the reply.
func (c *check) seen(ctx context.Context, r *checks.Request, mx facts.MX) string {
	names, _ := facts.Iprev(ctx, c.env, r) // has no error here
	client := "it has no confirmed reverse DNS name"
	if len(names.Confirmed) > 0 {
		client = "its reverse DNS name is " + names.Confirmed[0]
	}
	if len(mx.Hosts) == 0 {
		return client + ", and the domain accepts no mail"
	}
	return client + ", and mail for the domain goes to " + mx.List(func(h facts.MXHost) string { return h.Name })
}
