package greylist

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/headers"
)

//go:embed noretry.txt
var noRetryText string

// Entry is a sender of the shipped list, which greylisting would only harm.
type Entry struct {
	Sender   string `json:"sender"` // as in the setting no_retry
	Date     string `json:"date"`   // of the evidence, year first
	Evidence string `json:"evidence"`
}

// Shipped is the list that comes with the program.
func Shipped() []Entry {
	var list []Entry
	for line := range strings.Lines(noRetryText) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) > 2 {
			list = append(list, Entry{f[0], f[1], strings.Join(f[2:], " ")})
		}
	}
	return list
}

// noRetry is a set of senders, given by host name, domain or network.
type noRetry struct {
	hosts, domains map[string]bool
	networks       []netip.Prefix
}

// parseNoRetry reads entries: "mail.example.net" is that host, ".example.net" the domain with all below it.
func parseNoRetry(entries []string) (noRetry, error) {
	list := noRetry{hosts: map[string]bool{}, domains: map[string]bool{}}
	var faults []error
	for _, e := range entries {
		if checks.LooksLikeNetwork(e) {
			p, err := checks.ParseNetwork(e)
			if err != nil {
				faults = append(faults, fmt.Errorf("no_retry: %w", err))
				continue
			}
			list.networks = append(list.networks, p)
			continue
		}
		name, domain := strings.CutPrefix(strings.ToLower(e), ".")
		if headers.CheckDomain(name) != nil || !strings.Contains(name, ".") {
			faults = append(faults, fmt.Errorf("no_retry: %q is no host name, .domain, address or network", e))
			continue
		}
		if domain {
			list.domains[name] = true
		} else {
			list.hosts[name] = true
		}
	}
	return list, errors.Join(faults...)
}

func (l noRetry) hasAddr(a netip.Addr) bool {
	for _, n := range l.networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// hasName takes a name in lower case.
func (l noRetry) hasName(name string) bool {
	if l.hosts[name] {
		return true
	}
	for more := true; more; _, name, more = strings.Cut(name, ".") {
		if l.domains[name] {
			return true
		}
	}
	return false
}

// neverRetries tells whether the client is in the list: by its address, by a confirmed name, or by the domain of the
// reverse-path if it passes SPF. A DNS that does not answer says nothing.
func (c *check) neverRetries(ctx context.Context, s *checks.Request) bool {
	t := transactionOf(s)
	if !t.askedOfList {
		t.askedOfList = true
		t.neverRetry = c.inList(ctx, s)
	}
	return t.neverRetry
}

func (c *check) inList(ctx context.Context, s *checks.Request) bool {
	if c.noRetry.hasAddr(s.Client) {
		return true
	}
	names, _ := facts.Iprev(ctx, c.env, s)
	for _, n := range names.Confirmed {
		if c.noRetry.hasName(n) {
			return true
		}
	}
	if s.Envelope.MailFrom.IsNull() || !c.noRetry.hasName(s.Envelope.MailFrom.Domain) {
		return false
	}
	spf, _ := facts.MailFromSPF(ctx, c.env, s)
	passes, _ := spf.Identifies()
	return passes
}
