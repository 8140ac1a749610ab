// Package helo asks whether the name that the client gives in HELO or EHLO (RFC 5321 section 4.1.1.1) is one, and its own.
package helo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/headers"
)

// Settings configure the check.
type Settings struct {
	OwnNames []string `yaml:"own_names" doc:"Names of this site beside hostname and local_domains, which no other host may give in HELO." example:"[mail.example.org]"`
}

// Validate finds names that no client could give.
func (c Settings) Validate() error {
	var faults []error
	for _, name := range c.OwnNames {
		if fault := hard(headers.CheckDomain(name)); fault != nil {
			faults = append(faults, fmt.Errorf("own_names: %q is no domain name: %s", name, fault.Cause))
		}
	}
	return errors.Join(faults...)
}

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "helo",
	Doc: "Looks at the name that the client gives in HELO or EHLO: whether it is a full domain name or an address literal, " +
		"whether the DNS knows it, and whether it belongs to the client.",
	Stages: []checks.Stage{checks.Helo},
	Public: true,
	Reasons: []*checks.Reason{
		missing, syntax, underscore, bareIP, notFQDN, literal, literalNear, ownName, unresolvable, cname, mismatch, changed,
	},
}, Settings{}, build)

type check struct {
	env checks.Env
	own map[string]bool // names of this site, lower case, without the dot at their end
}

func build(c Settings, env checks.Env) (checks.Check, error) {
	own := map[string]bool{}
	for _, name := range slices.Concat([]string{env.Site.Hostname}, env.Site.LocalDomains, c.OwnNames) {
		if name = strings.TrimSuffix(name, "."); name != "" {
			own[strings.ToLower(name)] = true
		}
	}
	return &check{env, own}, nil
}

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	if s.Helo == "" {
		// The pipeline asks about HELO when MAIL has come.
		return []checks.Verdict{{Reason: missing}}, nil
	}
	var vs []checks.Verdict
	var err error
	arg := parse(s.Helo)
	switch arg.kind {
	case malformed:
		vs = say(vs, syntax, "fault", arg.fault)
	case bareAddress:
		vs = c.address(s, arg)
	case addressLiteral:
		vs = literalOf(s, arg.addr)
	case domain:
		vs, err = c.name(ctx, s, arg)
	}
	if s.PreviousHelo != "" {
		vs = say(vs, changed, "previous", s.PreviousHelo)
	}
	return vs, err
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(s *checks.Request) []checks.Query {
	switch s.Stage {
	case checks.Connect:
		return facts.PrefetchPTR(s)
	case checks.Helo:
		if s.Helo == "" {
			return nil
		}
		if arg := parse(s.Helo); arg.kind == domain {
			return []checks.Query{
				{Question: checks.Ask(arg.name, dns.TypeA)},
				{Question: checks.Ask(arg.name, dns.TypeAAAA)},
			}
		}
	}
	return nil
}

// say adds a verdict with one detail, or with none if key is empty.
func say(vs []checks.Verdict, r *checks.Reason, key, value string) []checks.Verdict {
	v := checks.Verdict{Reason: r}
	if key != "" {
		v.Detail = map[string]string{key: value}
	}
	return append(vs, v)
}

// address judges an address without brackets. It is refused for its form, and if it is ours, for that too: whoever
// tolerates the form still does not want to be impersonated.
func (c *check) address(s *checks.Request, arg argument) []checks.Verdict {
	vs := say(nil, bareIP, "literal", arg.literal())
	if arg.addr != s.Client && s.Client.IsValid() && slices.Contains(c.env.Site.Addresses, arg.addr) {
		vs = say(vs, ownName, "", "")
	}
	return vs
}

// literalOf judges an address literal.
func literalOf(s *checks.Request, addr netip.Addr) []checks.Verdict {
	if !s.Client.IsValid() || addr == s.Client.WithZone("") {
		return nil
	}
	bits := 24
	if s.Client.Is6() {
		bits = 64
	}
	if near, err := s.Client.Prefix(bits); err == nil && near.Contains(addr) {
		return say(nil, literalNear, "", "")
	}
	return say(nil, literal, "", "")
}

// name judges a domain name, in the order of the reasons. The error is why some could not be judged.
func (c *check) name(ctx context.Context, s *checks.Request, arg argument) ([]checks.Verdict, error) {
	var vs []checks.Verdict
	if arg.underscore {
		vs = say(vs, underscore, "", "")
	}
	if !strings.Contains(arg.name, ".") {
		vs = say(vs, notFQDN, "", "")
	}
	h, _ := checks.Remember(s, checks.Helo, hostKey{}, func() (host, error) {
		h := lookup(ctx, c.env.DNS, arg.name)
		return h, cmp.Or(h.err4, h.err6) // to be asked for again with the next mail
	})
	claims, errOwn := c.claimsOurs(ctx, s, h)
	if claims {
		vs = say(vs, ownName, "", "")
	}
	exists, errExists := h.exists()
	if !exists && errExists == nil {
		vs = say(vs, unresolvable, "", "")
	}
	if h.alias != "" {
		vs = say(vs, cname, "target", h.alias)
	}
	foreign, errForeign := c.foreign(ctx, s, h)
	if foreign {
		vs = say(vs, mismatch, "", "")
	}
	return vs, cmp.Or(errOwn, errExists, errForeign)
}

// claimsOurs tells whether the name is ours and nothing shows that the client may use it.
func (c *check) claimsOurs(ctx context.Context, s *checks.Request, h host) (bool, error) {
	if !c.own[h.name] || !s.Client.IsValid() {
		return false, nil
	}
	leads, errLeads := h.leadsTo(s.Client)
	if leads {
		return false, nil
	}
	// A result of temperror comes with an error.
	spf, errSPF := facts.HeloSPF(ctx, c.env, s)
	if errSPF == nil {
		var ours bool
		if ours, errSPF = spf.Identifies(); ours {
			return false, nil
		}
	}
	err := cmp.Or(errLeads, errSPF)
	return err == nil, err
}

// foreign tells whether the name is none of the client's: neither does it resolve to the client, nor is it one of the
// names that the reverse zone gives to the client, confirmed or not.
func (c *check) foreign(ctx context.Context, s *checks.Request, h host) (bool, error) {
	if !s.Client.IsValid() {
		return false, nil
	}
	leads, errLeads := h.leadsTo(s.Client)
	if leads {
		return false, nil
	}
	names, errNames := facts.ClientPTR(ctx, c.env, s)
	if slices.Contains(names, h.name) {
		return false, nil
	}
	err := cmp.Or(errLeads, errNames)
	return err == nil, err
}
