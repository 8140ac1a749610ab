// Package sender is the check of the reverse-path of MAIL FROM, RFC 5321 section 4.1.1.2: its syntax, whether its domain
// accepts mail, whether the client may use it, how earlier mail of the sender fared (history.go) and how old the domain is
// (age.go). The null reverse-path has no verdict.
//
// facts has the mail hosts, SPF results and identities. Start reading at check.Check.
package sender

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/headers"
)

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "sender",
	Doc: "Checks the address in MAIL FROM: whether it is well formed, whether its domain accepts mail, whether an outside " +
		"client uses a domain of this site, how earlier mail of the sender fared, and how old its domain is. An address with " +
		"an address literal as domain is checked for its syntax only.",
	Stages:  []checks.Stage{checks.MailFrom},
	Public:  true,
	Reasons: []*checks.Reason{syntax, syntaxLax, noDomain, nullMX, bogusMX, ownDomain, history, domainNew},
}, Settings{History: 10, HistoryWindow: 7 * 24 * time.Hour}, func(c Settings, env checks.Env) (checks.Check, error) {
	return &check{Settings: c, env: env, registrations: newRegistrations(c.RDAP, env)}, nil
})

type check struct {
	Settings
	env           checks.Env
	registrations *registrations
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query {
	var queries []checks.Query
	if c.History > 0 {
		queries = facts.PrefetchIdentity(r)
	}
	if r.Stage == checks.MailFrom {
		queries = append(queries, facts.PrefetchMX(r)...)
	}
	return queries
}

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	from := r.Envelope.MailFrom
	if from.IsNull() {
		return nil, nil
	}
	form := checkSyntax(from)
	if from.Domain == "" {
		return form, nil
	}
	hosts, errHosts := c.checkMailHosts(ctx, r)
	own, errOwn := c.checkOwnDomain(ctx, r)
	past, errPast := c.checkHistory(ctx, r)
	var age []checks.Verdict
	var errAge error
	exists := !slices.ContainsFunc(hosts, func(v checks.Verdict) bool { return v.Reason == noDomain })
	if errHosts == nil && exists {
		age, errAge = c.checkAge(ctx, r)
	}
	return slices.Concat(form, hosts, own, past, age), cmp.Or(errHosts, errOwn, errPast, errAge)
}

// checkSyntax checks the address by RFC 5321 section 4.1.2.
func checkSyntax(from checks.Address) []checks.Verdict {
	_, err := headers.ParsePath(from.Text)
	fault, ok := errors.AsType[*headers.SyntaxError](err)
	if !ok {
		return nil
	}
	reason := syntax
	if fault.Lax {
		reason = syntaxLax
	}
	return []checks.Verdict{{Reason: reason, Detail: map[string]string{"fault": fault.Cause}}}
}

// checkMailHosts checks whether mail to the domain can be delivered. A private mail host counts if it is the client: then
// sender and site are in one private network. Loopback is not such a network.
func (c *check) checkMailHosts(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	mx, err := facts.SenderMX(ctx, c.env, r)
	isClient := func(h facts.MXHost) bool {
		client := r.Session.Client
		return !client.IsLoopback() && slices.Contains(h.Addrs, client.WithZone(""))
	}
	switch {
	case err != nil:
		return nil, err
	case mx.Null:
		return []checks.Verdict{{Reason: nullMX}}, nil
	case len(mx.Hosts) == 0:
		return []checks.Verdict{{Reason: noDomain}}, nil
	case slices.ContainsFunc(mx.Hosts, facts.MXHost.Reachable), slices.ContainsFunc(mx.Hosts, isClient):
		return nil, nil
	}
	for _, h := range mx.Hosts {
		if h.Err != nil {
			return nil, h.Err
		}
	}
	if mx.More {
		return nil, fmt.Errorf("none of the first %d mail hosts of %s is reachable, and there are more", len(mx.Hosts), r.Envelope.MailFrom.Domain)
	}
	hosts := mx.List(func(h facts.MXHost) string {
		if len(h.Addrs) == 0 {
			return h.Name + " (no address)"
		}
		return fmt.Sprintf("%s (%s)", h.Name, h.Addrs[0])
	})
	return []checks.Verdict{{Reason: bogusMX, Detail: map[string]string{"hosts": hosts}}}, nil
}

// checkOwnDomain checks the use of a domain of this site. Subdomains do not count: many are used by others, such as newsletter
// services, and have SPF records of their own.
func (c *check) checkOwnDomain(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if !r.Client.IsValid() || r.AuthUser != "" || !c.env.Site.IsLocal(r.Envelope.MailFrom.Domain) {
		return nil, nil
	}
	ev, err := facts.MailFromSPF(ctx, c.env, r)
	if err != nil {
		return nil, err
	}
	if identifies, err := ev.Identifies(); identifies || err != nil {
		return nil, err
	}
	return []checks.Verdict{{Reason: ownDomain, Detail: map[string]string{"spf": string(ev.Result)}}}, nil
}
