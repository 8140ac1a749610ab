// Package helo is the check of the name that the client gives in HELO or EHLO, RFC 5321 section 4.1.1.1: its syntax, whether
// it exists in the DNS, and whether it belongs to the client.
//
// argument.go parses the name, host.go looks it up. facts has the client's PTR names and the SPF result. Start reading at
// check.Check.
package helo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/headers"
)

// Settings configure the check.
type Settings struct {
	OwnNames []string `yaml:"own_names" doc:"Names of this site beside hostname and local_domains, which no other host may give in HELO." example:"[mail.example.org]"`
}

// Validate returns an error for names that no client can give.
func (c Settings) Validate() error {
	var faults []error
	for _, name := range c.OwnNames {
		if fault := syntaxFault(headers.CheckDomain(name)); fault != nil {
			faults = append(faults, fmt.Errorf("own_names: %q is not a domain name; write it as mail.example.org: %s", name, fault.Cause))
		}
	}
	return errors.Join(faults...)
}

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "helo",
	Doc: "Checks the name that the client gives in HELO or EHLO: whether it is a full domain name or an address literal, " +
		"whether it exists in the DNS, and whether it belongs to the client.",
	Stages: []checks.Stage{checks.Helo},
	Public: true,
	Reasons: []*checks.Reason{
		missing, syntax, underscore, bareIP, notFQDN, literal, literalNear, ownName, unresolvable, cname, mismatch, changed,
	},
}, Settings{}, build)

type check struct {
	env checks.Env
	own map[string]bool // names of this site, lower case, without trailing dot
}

func build(c Settings, env checks.Env) (checks.Check, error) {
	own := map[string]bool{}
	for _, name := range slices.Concat([]string{env.Site.Hostname}, env.Site.LocalDomains, c.OwnNames) {
		if name = strings.TrimSuffix(name, "."); name != "" {
			own[strings.ToLower(name)] = true
		}
	}
	return &check{env: env, own: own}, nil
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query {
	switch r.Stage {
	case checks.Connect:
		return facts.PrefetchPTR(r)
	case checks.Helo:
		if r.Helo == "" || checks.IsPrivate(r.Session.Client) {
			return nil
		}
		if arg := parse(r.Helo); arg.kind == domain {
			return prefetchHost(arg.name)
		}
	}
	return nil
}

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if r.Helo == "" { // the client sent MAIL first
		return []checks.Verdict{{Reason: missing}}, nil
	}
	var verdicts []checks.Verdict
	var err error
	arg := parse(r.Helo)
	switch arg.kind {
	case malformed:
		verdicts = []checks.Verdict{{Reason: syntax, Detail: map[string]string{"fault": arg.fault}}}
	case bareAddress:
		verdicts = c.checkAddress(r, arg)
	case addressLiteral:
		verdicts = checkLiteral(r, arg.addr)
	case domain:
		verdicts, err = c.checkName(ctx, r, arg)
	}
	if r.PreviousHelo != "" {
		verdicts = append(verdicts, checks.Verdict{Reason: changed, Detail: map[string]string{"previous": r.PreviousHelo}})
	}
	return verdicts, err
}

// checkAddress checks an address without brackets. An address of this site has a second reason, for operators who only watch
// bare addresses.
func (c *check) checkAddress(r *checks.Request, arg argument) []checks.Verdict {
	verdicts := []checks.Verdict{{Reason: bareIP, Detail: map[string]string{"literal": arg.literal()}}}
	if arg.addr != r.Client && r.Client.IsValid() && slices.Contains(c.env.Site.Addresses, arg.addr) {
		verdicts = append(verdicts, checks.Verdict{Reason: ownName})
	}
	return verdicts
}

// checkLiteral checks an address literal.
func checkLiteral(r *checks.Request, addr netip.Addr) []checks.Verdict {
	switch {
	case !r.Client.IsValid() || addr == r.Client:
		return nil
	case checks.Network(r.Client).Contains(addr):
		return []checks.Verdict{{Reason: literalNear}}
	default:
		return []checks.Verdict{{Reason: literal}}
	}
}

// checkName checks a domain name. It does not look up the name of a private client, which may be one of a private network. With an
// error, a reason may be missing.
func (c *check) checkName(ctx context.Context, r *checks.Request, arg argument) ([]checks.Verdict, error) {
	var verdicts []checks.Verdict
	if arg.underscore {
		verdicts = append(verdicts, checks.Verdict{Reason: underscore})
	}
	if !strings.Contains(arg.name, ".") {
		verdicts = append(verdicts, checks.Verdict{Reason: notFQDN})
	}
	if checks.IsPrivate(r.Session.Client) {
		return verdicts, nil
	}
	h := lookupHost(ctx, c.env.DNS, arg.name, r.Session.Client)
	claimsOwn, errOwn := c.claimsOwnName(ctx, r, h)
	if claimsOwn {
		verdicts = append(verdicts, checks.Verdict{Reason: ownName})
	}
	exists, errExists := h.exists()
	if !exists && errExists == nil {
		verdicts = append(verdicts, checks.Verdict{Reason: unresolvable})
	}
	if h.alias != "" {
		verdicts = append(verdicts, checks.Verdict{Reason: cname, Detail: map[string]string{"target": h.alias}})
	}
	mismatches, errMismatch := c.mismatches(ctx, r, h)
	if mismatches {
		verdicts = append(verdicts, checks.Verdict{Reason: mismatch})
	}
	return verdicts, cmp.Or(errOwn, errExists, errMismatch)
}

// claimsOwnName reports whether the name is one of this site, and neither resolves to the client nor passes SPF.
func (c *check) claimsOwnName(ctx context.Context, r *checks.Request, h host) (bool, error) {
	if !c.own[h.name] || !r.Client.IsValid() {
		return false, nil
	}
	resolves, errResolves := h.resolvesTo(r.Client)
	if resolves {
		return false, nil
	}
	ev, errSPF := facts.HeloSPF(ctx, c.env, r)
	if errSPF == nil {
		var identifies bool
		if identifies, errSPF = ev.Identifies(); identifies {
			return false, nil
		}
	}
	err := cmp.Or(errResolves, errSPF)
	return err == nil, err
}

// mismatches reports whether the name neither resolves to the client nor is one of its PTR names, confirmed or not.
func (c *check) mismatches(ctx context.Context, r *checks.Request, h host) (bool, error) {
	if !r.Client.IsValid() {
		return false, nil
	}
	resolves, errResolves := h.resolvesTo(r.Client)
	if resolves {
		return false, nil
	}
	names, errNames := facts.ClientPTR(ctx, c.env, r)
	if slices.Contains(names, h.name) {
		return false, nil
	}
	err := cmp.Or(errResolves, errNames)
	return err == nil, err
}
