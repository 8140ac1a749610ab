package greylist

import (
	"net/netip"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/headers"
)

// selector selects records by what an operator typed. The zero value selects all.
type selector struct {
	text    string
	mailbox string       // in the form of record.From; empty if it is none
	rcpt    string       // likewise, in the form of record.To
	network netip.Prefix // invalid if it is none
}

// newSelector parses an address, a network, a domain, a mailbox, or an identity as it is shown. Anything else is an error, as
// an empty result would be misleading.
func newSelector(query string) (selector, error) {
	sel := selector{text: strings.ToLower(strings.TrimSpace(query))}
	ok, err := true, error(nil)
	switch {
	case sel.text == "":
	case strings.Contains(sel.text, "@"):
		a := checks.ParseAddress(strings.TrimSpace(query))
		sel.mailbox, sel.rcpt, ok = strings.ToLower(facts.StableSender(a)), storedRecipient(a), a.Local != ""
	case strings.Contains(sel.text, " "): // as Identity.Narrow
		sel.text, err = parseClientName(sel.text)
	case checks.LooksLikeNetwork(sel.text):
		sel.network, err = parseAnyNetwork(sel.text)
	default:
		sel.text = domainName(sel.text)
		ok = sel.text != ""
	}
	if !ok || err != nil {
		return selector{}, checks.BadArgument("%q is not an address, network, domain or mailbox", query)
	}
	return sel, nil
}

// parseAnyNetwork parses an address or network, which may have bits set after the network part.
func parseAnyNetwork(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		text = p.Masked().String()
	}
	return checks.ParseNetwork(text)
}

// triplet reports whether a triplet is selected.
func (sel selector) triplet(rec record) bool {
	if sel.mailbox != "" {
		from := strings.ToLower(rec.From)
		return from == sel.mailbox || from == sel.text || rec.To == sel.rcpt
	}
	if sel.identity(rec.Identity) || sel.address(rec.Client) {
		return true
	}
	_, domain, _ := strings.Cut(rec.From, "@")
	return checks.Under(domain, sel.text)
}

// client reports whether the record of a client is selected.
func (sel selector) client(name string, rec clientRecord) bool {
	return sel.mailbox == "" && (sel.identity(name) || sel.address(rec.Client))
}

// identity reports whether an identity, in the form of Identity.String or Narrow, is selected.
func (sel selector) identity(name string) bool {
	domain, _, _ := strings.Cut(name, " ")
	return sel.text == "" || name == sel.text || checks.Under(domain, sel.text) || sel.address(name)
}

func (sel selector) address(text string) bool {
	if !sel.network.IsValid() {
		return false
	}
	a, err := netip.ParseAddr(text)
	return err == nil && sel.network.Contains(a)
}

// parseClientName parses a client in the form of clientNames: an address, a /24, a /64, a domain, or a domain and one of the others.
func parseClientName(what string) (string, error) {
	domain, network, hasBoth := strings.Cut(strings.Join(strings.Fields(strings.ToLower(what)), " "), " ")
	if p, err := parseAnyNetwork(domain); err == nil && !hasBoth {
		return networkName(p)
	}
	name := domainName(domain)
	switch {
	case !strings.Contains(name, ".") || checks.LooksLikeNetwork(domain) || isNumber(name[strings.LastIndexByte(name, '.')+1:]):
		return "", checks.BadArgument("%q is not an address, network or domain", what)
	case checks.OrgDomain(name) == "":
		return "", checks.BadArgument("%q is a public suffix, under which anybody can register a name", name)
	case !hasBoth:
		return name, nil
	}
	p, err := parseAnyNetwork(network)
	if err != nil {
		return "", checks.BadArgument("%q is not a client: %q is no address or network", what, network)
	}
	network, err = networkName(p)
	return name + " " + network, err
}

// isNumber reports whether a label has digits alone. No top-level domain has: a name that ends so is a malformed address.
func isNumber(label string) bool { return strings.Trim(label, "0123456789") == "" }

// networkName returns the name of a network, which must be one that a client can have.
func networkName(p netip.Prefix) (string, error) {
	if !p.IsSingleIP() && p.Bits() != checks.Network(p.Addr()).Bits() {
		return "", checks.BadArgument("%s: a client has a /24, or a /64 for IPv6; use the setting no_retry for other networks", p)
	}
	return facts.Identity{Network: p}.NetworkName(), nil
}

// domainName returns a domain in the form of identities, which is lower case, with A-labels, without trailing dot. It returns "" for
// another text.
func domainName(text string) string {
	name := checks.ParseAddress("x@" + text).Domain
	if headers.CheckDomain(name) != nil {
		return ""
	}
	return name
}
