// Package sender asks whether the reverse-path of MAIL FROM (RFC 5321 section 4.1.1.2) is an address to which an answer
// could be sent, whether the client may use it, and what is known of it: what became of its mail before, and how old its
// domain is. The null reverse-path is always right.
package sender

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/headers"
)

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "sender",
	Doc: "Looks at the address in MAIL FROM: whether it is well formed, whether its domain takes mail, whether an outside " +
		"client uses a domain of this site, what became of the sender's mail before, and how old its domain is. An address " +
		"literal as domain is looked at for its form alone.",
	Stages:  []checks.Stage{checks.MailFrom},
	Public:  true,
	Reasons: []*checks.Reason{syntax, syntaxLax, noDomain, nullMX, bogusMX, ownDomain, history, domainNew},
}, Settings{History: 10, HistoryWindow: 7 * 24 * time.Hour}, func(c Settings, env checks.Env) (checks.Check, error) {
	known := &registrations{server: c.RDAP, env: env, asking: map[string]bool{}}
	return &check{Settings: c, env: env, registrations: known}, nil
})

type check struct {
	Settings
	env           checks.Env
	registrations *registrations
}

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	from := s.Envelope.MailFrom
	if from.IsNull() {
		return nil, nil
	}
	vs := form(from)
	if from.Domain == "" {
		return vs, nil
	}
	mx, err := c.mailHosts(ctx, s)
	own, errOwn := c.ownDomain(ctx, s)
	past, errPast := c.history(ctx, s)
	var age []checks.Verdict
	var errAge error
	if err == nil && !says(mx, noDomain) {
		age, errAge = c.domainAge(ctx, s) // nobody needs to be asked about a domain that does not exist
	}
	return slices.Concat(vs, mx, own, past, age), cmp.Or(err, errOwn, errPast, errAge)
}

func says(vs []checks.Verdict, r *checks.Reason) bool {
	return slices.ContainsFunc(vs, func(v checks.Verdict) bool { return v.Reason == r })
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(s *checks.Request) []checks.Query {
	var ahead []checks.Query
	if c.History > 0 {
		ahead = facts.PrefetchIdentity(s)
	}
	if s.Stage == checks.MailFrom {
		ahead = append(ahead, facts.PrefetchMX(s)...)
	}
	return ahead
}

// isOurs tells whether a domain is exactly one of ours.
func (c *check) isOurs(domain string) bool {
	return slices.ContainsFunc(c.env.Site.LocalDomains, func(d string) bool { return checks.SameName(d, domain) })
}

// form judges the address by RFC 5321 section 4.1.2.
func form(from checks.Address) []checks.Verdict {
	_, err := headers.ParsePath(from.Text)
	fault, ok := errors.AsType[*headers.SyntaxError](err)
	if !ok {
		return nil
	}
	r := syntax
	if fault.Lax {
		r = syntaxLax
	}
	return []checks.Verdict{{Reason: r, Detail: map[string]string{"fault": fault.Cause}}}
}

// mailHosts judges where the domain takes its mail.
func (c *check) mailHosts(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	mx, err := facts.SenderMX(ctx, c.env, s)
	switch {
	case err != nil:
		return nil, err
	case mx.Null:
		return []checks.Verdict{{Reason: nullMX}}, nil
	case len(mx.Hosts) == 0:
		return []checks.Verdict{{Reason: noDomain}}, nil
	case slices.ContainsFunc(mx.Hosts, facts.MXHost.Reachable), slices.ContainsFunc(mx.Hosts, isClient(s.Client)):
		return nil, nil
	}
	for _, h := range mx.Hosts {
		if h.Err != nil {
			return nil, h.Err
		}
	}
	if mx.More {
		return nil, fmt.Errorf("none of the first %d mail hosts of %s can be reached, and there are more",
			len(mx.Hosts), s.Envelope.MailFrom.Domain)
	}
	return []checks.Verdict{{Reason: bogusMX, Detail: map[string]string{"hosts": list(mx.Hosts)}}}, nil
}

// isClient tells of mail hosts whether they have the client's address: in a network of one's own that is not a bogus one,
// whatever it is. A loopback address is everybody's own.
func isClient(client netip.Addr) func(facts.MXHost) bool {
	return func(h facts.MXHost) bool {
		return !client.IsLoopback() && slices.Contains(h.Addrs, client.WithZone(""))
	}
}

// list shows the first few hosts with an address of each.
func list(hosts []facts.MXHost) string {
	const shown = 3
	var out []string
	for _, h := range hosts[:min(shown, len(hosts))] {
		where := "no address"
		if len(h.Addrs) > 0 {
			where = h.Addrs[0].String()
		}
		out = append(out, fmt.Sprintf("%s (%s)", h.Name, where))
	}
	if more := len(hosts) - shown; more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

// ownDomain judges the use of exactly one of our domains. Subdomains are left alone: they are often given to others, such
// as newsletter services, and have SPF records of their own. The pipeline never asks about trusted clients.
func (c *check) ownDomain(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	if !s.Client.IsValid() || s.AuthUser != "" || !c.isOurs(s.Envelope.MailFrom.Domain) {
		return nil, nil
	}
	spf, err := facts.MailFromSPF(ctx, c.env, s)
	if err != nil {
		return nil, err
	}
	// A pass that anybody would get is none.
	if passes, err := spf.Identifies(); passes || err != nil {
		return nil, err
	}
	return []checks.Verdict{{Reason: ownDomain, Detail: map[string]string{"spf": string(spf.Result)}}}, nil
}
