package greylist

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
)

//go:embed noretry.txt
var noRetryText string

// builtIn returns the built-in entries, as in Settings.NoRetry.
func builtIn() []string {
	var list []string
	for line := range strings.Lines(noRetryText) {
		if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
			list = append(list, words[0])
		}
	}
	return list
}

// noRetry is a set of senders.
type noRetry struct {
	names    checks.NameSet
	networks []netip.Prefix
}

// parseNoRetry parses entries of Settings.NoRetry: addresses, networks, and entries of a checks.NameSet.
func parseNoRetry(entries []string) (noRetry, error) {
	var list noRetry
	var faults []error
	for _, e := range entries {
		if !checks.LooksLikeNetwork(e) {
			if isTopLevel := !strings.Contains(strings.Trim(e, "."), "."); isTopLevel || list.names.Add(e) != nil {
				faults = append(faults, fmt.Errorf("no_retry: %q is not an address, a network or a host name; write it as 192.0.2.1, 192.0.2.0/24 or .example.net", e))
			}
			continue
		}
		p, err := checks.ParseNetwork(e)
		if err != nil {
			faults = append(faults, fmt.Errorf("no_retry: %w", err))
		}
		list.networks = append(list.networks, p) // after an error, the zero value, which contains nothing
	}
	return list, errors.Join(faults...)
}

// neverRetries reports whether the client is in the no-retry list: by its address, by a confirmed name, or by the domain of the
// reverse-path if that passes SPF. It is false if the DNS fails.
func (c *check) neverRetries(ctx context.Context, r *checks.Request) bool {
	if slices.ContainsFunc(c.noRetry.networks, func(n netip.Prefix) bool { return n.Contains(r.Session.Client) }) {
		return true
	}
	names, _ := facts.Iprev(ctx, c.env, r)
	if slices.ContainsFunc(names.Confirmed, c.noRetry.names.Has) {
		return true
	}
	if r.Envelope.MailFrom.IsNull() || !c.noRetry.names.Has(r.Envelope.MailFrom.Domain) {
		return false
	}
	evaluation, _ := facts.MailFromSPF(ctx, c.env, r)
	passes, _ := evaluation.Identifies()
	return passes
}
