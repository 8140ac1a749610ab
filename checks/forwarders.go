package checks

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Forwarders are clients that pass on mail of others: SPF and DNSBL results of the client say nothing about that mail. The
// zero value is empty.
type Forwarders struct {
	Networks []netip.Prefix
	Names    []string // host names and domains including their subdomains, lower case, no trailing dot
}

// Add adds an entry of a setting: an address, a network, or a name, perhaps with a dot in front.
func (f *Forwarders) Add(entry string) error {
	if LooksLikeNetwork(entry) {
		n, err := ParseNetwork(entry)
		if err == nil {
			f.Networks = append(f.Networks, n)
		}
		return err
	}
	name := ToALabels(strings.TrimPrefix(entry, "."))
	if !IsHostName(name) || !strings.Contains(name, ".") {
		return fmt.Errorf("%.80q is not an address, a network or a host name; write it as 192.0.2.1, 192.0.2.0/24 or lists.example.net", entry)
	}
	f.Names = append(f.Names, name)
	return nil
}

// HasAddr reports whether an address is in one of the networks.
func (f Forwarders) HasAddr(client netip.Addr) bool {
	return slices.ContainsFunc(f.Networks, func(n netip.Prefix) bool { return n.Contains(client) })
}

// HasName reports whether a name is one of the names, or below one.
func (f Forwarders) HasName(name string) bool {
	return slices.ContainsFunc(f.Names, func(domain string) bool { return Under(name, domain) })
}

// forwarding is whether the client is a forwarder of a recipient.
type forwarding uint8

const (
	notForwarded   forwarding = iota
	mayBeForwarded            // the names of the client could not be looked up
	forwarded
)

// forwardingTo returns whether the client is a forwarder of the recipients with a table. The mail of a trusted client must not wait
// for the DNS.
func (run *Run) forwardingTo(ctx context.Context, t *table) forwarding {
	named := run.pipeline.opts.ClientNamed
	if t.forwarders.HasAddr(run.session.Client) {
		return forwarded
	}
	if len(t.forwarders.Names) == 0 || named == nil || run.trusted {
		return notForwarded
	}
	is, err := false, errPanic // as if a name could not be looked up
	contain(func() { is, err = named(ctx, &run.request, t.forwarders.HasName) })
	switch {
	case is:
		return forwarded
	case err != nil:
		return mayBeForwarded
	default:
		return notForwarded
	}
}
