package dmarc

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/checks/facts/dmarc"
	"milterd/checks/facts/spf"
	"milterd/headers"
)

// path is how a message came here.
type path struct {
	reason *checks.Reason // indirect: it was passed on; fromList: by a list that is not known yet; nil: neither
	text   string         // who passed it on, printable US-ASCII; empty: nobody
	list   string         // domain of the list
	missed error          // an answer is missing that might have shown who passed it on
}

type pathKey struct{}

// pathOf returns how a message that does not pass DMARC came here, and remembers it.
func (c *check) pathOf(ctx context.Context, r *checks.Request, e dmarc.Evaluation) path {
	if e.Result == dmarc.Pass {
		return path{}
	}
	p, _ := checks.Remember(r, checks.EndOfMessage, pathKey{}, func() (path, error) { return c.findPath(ctx, r), nil })
	return p
}

func (c *check) findPath(ctx context.Context, r *checks.Request) path {
	names, _ := facts.Iprev(ctx, c.env, r)
	switch {
	case anyAccepted(r, r.Forwarded): // of all or of none: the others come in another message
		return path{reason: indirect, text: "passed on by a forwarder of the recipient"}
	case c.trusted.HasAddr(r.Session.Client), slices.ContainsFunc(names.Confirmed, c.trusted.HasName):
		return path{reason: indirect, text: "passed on by a trusted client"}
	}
	mayBeForwarded := anyAccepted(r, r.MayBeForwarded)
	p := path{missed: names.Unsure(func(name string) bool { return mayBeForwarded || c.trusted.HasName(name) || identifies(r, name) })}
	c.findRelay(ctx, r, names.Confirmed, &p)
	if p.reason == nil {
		c.findList(ctx, r, names.Confirmed, &p)
	}
	return p
}

// anyAccepted reports whether a condition holds for the index of a recipient that was not refused.
func anyAccepted(r *checks.Request, holds func(i int) bool) bool {
	for i, rcpt := range r.Envelope.Rcpts {
		if rcpt.Refused == "" && holds(i) {
			return true
		}
	}
	return false
}

// findRelay sets the path if the client is a known relay, by the organisational domain of a confirmed name or of SPF.
func (c *check) findRelay(ctx context.Context, r *checks.Request, confirmed []string, p *path) {
	if !c.Relays || c.env.Senders == nil {
		return
	}
	unread := c.env.Senders.Unread() // read before Relays is asked, or the first reading could come in between
	for _, name := range confirmed {
		org := checks.OrgDomain(name)
		if org == "" || !identifies(r, name) {
			continue
		}
		if c.env.Senders.Relays(org) {
			p.reason, p.text = indirect, "passed on by the known relay "+org
			return
		}
		p.missed = cmp.Or(p.missed, unread)
	}
	ev, errSPF := facts.MailFromSPF(ctx, c.env, r)
	org := checks.OrgDomain(ev.Domain)
	if org == "" {
		return
	}
	identified, errWidth := ev.Identifies()
	switch {
	case !c.env.Senders.Relays(org):
		if identified || errSPF != nil || errWidth != nil {
			p.missed = cmp.Or(p.missed, unread)
		}
		return
	case identified:
		p.reason, p.text = indirect, "passed on by the known relay "+org
	}
	p.missed = cmp.Or(p.missed, errSPF, errWidth)
}

// rentedWords are words in the names that hosting companies give to the machines of their customers.
var rentedWords = map[string]bool{
	"client": true, "clients": true, "customer": true, "customers": true, "dedi": true, "dedicated": true, "vds": true,
	"vm": true, "vmi": true, "vps": true,
}

// identifies reports whether a confirmed name shows that the organisation itself sends. The name of a pool or of a rented machine
// shows whose network it is: a company that relays mail must not vouch for each of its customers.
func identifies(r *checks.Request, name string) bool {
	below := strings.TrimSuffix(name, "."+checks.OrgDomain(name))
	for part := range strings.FieldsFuncSeq(below, func(c rune) bool { return c == '.' || c == '-' || c == '_' }) {
		if rentedWords[strings.Trim(part, "0123456789")] {
			return false
		}
	}
	return !facts.ClientPoolName(r, name)
}

// findList sets the path if the message comes from a mailing list: it has the fields of one, and the domain in List-Id aligns with a
// confirmed name of the client, or with a domain that passes SPF or DKIM. Anyone with a domain can do this, so the reason is indirect
// only if the list is a good sender.
func (c *check) findList(ctx context.Context, r *checks.Request, confirmed []string, p *path) {
	lists := listDomains(r.Envelope.Header)
	if !c.ListMarks || len(lists) == 0 {
		return
	}
	identifiers := facts.Identifiers(ctx, c.env, r)
	if ev, _ := facts.MailFromSPF(ctx, c.env, r); ev.Result == spf.Pass && ev.TooWide {
		identifiers = slices.DeleteFunc(identifiers, func(id dmarc.Identifier) bool { return id.Method == "spf" })
	}
	for _, name := range confirmed {
		if identifies(r, name) {
			identifiers = append(identifiers, dmarc.Identifier{Method: "iprev", Domain: name, State: dmarc.Passed})
		}
	}
	var missed error // matters only if no identifier shows a list
	for _, list := range lists {
		shown, err := c.isShown(ctx, r, list, identifiers)
		if !shown {
			missed = cmp.Or(missed, err)
			continue
		}
		good, unread := c.isGood(list)
		p.missed = cmp.Or(p.missed, unread)
		if good {
			p.list, p.reason, p.text = list, indirect, "passed on by the mailing list "+list
			return
		}
		if p.reason == nil {
			p.list, p.reason, p.text = list, fromList, "passed on by the mailing list "+list+", which is not known yet"
		}
	}
	if p.reason == nil {
		p.missed = cmp.Or(p.missed, missed)
	}
}

// isShown reports whether an identifier that passes aligns with the domain of a list. With an error it is false and might be true.
func (c *check) isShown(ctx context.Context, r *checks.Request, list string, identifiers []dmarc.Identifier) (bool, error) {
	var missed error
	for _, id := range identifiers {
		if id.State == dmarc.Failed {
			continue
		}
		aligned, err := facts.Aligned(ctx, c.env, r, list, id.Domain)
		switch {
		case err == nil && aligned && id.State == dmarc.Passed:
			return true, nil
		case err != nil || aligned:
			missed = cmp.Or(missed, err, id.Err)
		}
	}
	return false, missed
}

// isGood reports whether the organisation of a list is a good sender. With an error, it may be one.
func (c *check) isGood(list string) (bool, error) {
	org := checks.OrgDomain(list)
	if c.env.Senders == nil || org == "" {
		return false, nil
	}
	unread := c.env.Senders.Unread() // read before IsGood is asked, or the first reading could come in between
	if c.env.Senders.IsGood(org) {
		return true, nil
	}
	return false, unread
}

// maxLists is the number of List-Id fields that count. A list behind a list may leave that of the first one in the message; a hostile
// message has thousands.
const maxLists = 5

// listDomains returns the domains in the List-Id fields (RFC 2919 section 3) of a message that has the fields of a mailing list.
func listDomains(header []headers.Field) []string {
	var domains []string
	others := false
	for _, f := range header {
		switch {
		case f.Is("List-Id") && len(domains) < maxLists:
			if domain := listDomain(f.Value); domain != "" {
				domains = append(domains, domain)
			}
		case f.Is("List-Post"), f.Is("List-Unsubscribe"): // RFC 2369
			others = true
		}
	}
	if !others {
		return nil
	}
	return domains
}

// maxListID is the length of an identifier of a list in bytes, RFC 2919 section 2.
const maxListID = 255

// listDomain returns the domain at the end of the identifier in a List-Id field, or "". The label of the list may have bytes that no
// domain has, as in <c++.lists.example.net>.
func listDomain(value string) string {
	if i := strings.LastIndexByte(value, '<'); i >= 0 {
		value, _, _ = strings.Cut(value[i+1:], ">")
	}
	id := strings.TrimSpace(value)
	for more := len(id) <= maxListID; more; _, id, more = strings.Cut(id, ".") {
		if domain := facts.ASCIIDomain(id); domain != "" {
			return domain
		}
	}
	return ""
}
