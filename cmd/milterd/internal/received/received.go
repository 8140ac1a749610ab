// Package received reconstructs the SMTP session in which a stored message came, from the trace fields of its
// header section (RFC 5321 section 4.4): who the client was, what it said, and when.
//
// Package replay uses it. Start reading at Read. The file hop.go reads one Received field, clauses.go its
// syntax, and results.go the results of filters: Authentication-Results (RFC 8601) and Received-SPF (RFC 7208
// section 9.1).
package received

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/headers"
)

// Site is the mail site that received the messages. Its border host is the host that received a message from a client
// outside the site.
type Site struct {
	Hostname string         // of the border host, as it calls itself in Received fields
	Domains  []string       // hosts with one of these names, or a name under one, are of the site too
	Trusted  []netip.Prefix // clients in these networks are hosts of the site
}

// Known is a set of facts.
type Known uint8

// The facts. Client and Helo are those of the border host's client. Content is the header section as the
// border host received it; the caller of Read adds it.
const (
	Client Known = 1 << iota
	Helo
	Sender
	Recipient
	Time
	Content
	Everything = 1<<iota - 1
)

// String returns the names of the facts, such as "client, time".
func (k Known) String() string {
	var names []string
	for i, name := range [...]string{"client", "HELO", "sender", "recipient", "time", "header section"} {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Facts is what is known of a session. Fields that are not known are empty.
type Facts struct {
	Known      Known
	Local      bool       // the message comes from a host of the site
	Client     netip.Addr // client of the border host; if Local, a host of the site
	ClientName string
	Helo       string
	User       string // authenticated user; "unknown" if only the authentication is known
	From       string // reverse-path
	To         string // recipient
	Time       time.Time
	QueueID    string
	By         string // border host, or the host of the topmost Received field if there is no border host

	// Header is the header section as the border host received it: without the trace fields that the site
	// added on top.
	Header []headers.Field
}

// Read reconstructs the session of a message from its header section.
//
// It reads the Received fields from the top. It skips those above the first one by a host of the site, which for example
// a mail store elsewhere added. The border host is then the first host that received the message by SMTP from a client that is
// not of the site. If a client is in one of Site.Trusted, its own Received field is the next one, and its host is of the site
// whatever its name.
//
// If no host of the site received the message, only its time and its reverse-path are known, see elsewhere.
//
// The site added the fields above that of the border host, so all their facts are used. Of the fields below it, only
// Authentication-Results and Received-SPF fields that name a host of the site are used.
func Read(fields []headers.Field, site Site) Facts {
	f := Facts{Header: fields}
	border, ok := site.findBorder(fields, &f)
	if !ok {
		return elsewhere(fields, f.By)
	}
	site.addDelivery(fields[:border], &f)
	for _, field := range fields[:border] {
		site.addResults(field, &f)
	}
	f.Header = nil
	ours := true // until the next Received field, a filter of the border host may have added fields
	for _, field := range fields[border+1:] {
		ours = ours && !field.Is("Received")
		if !ours || !site.addResults(field, &f) {
			f.Header = append(f.Header, field)
		}
	}
	f.deleteAddedID()
	return f
}

// elsewhere returns the facts of a message that no host of the site received: when it was received, by the topmost Received
// field of a host that received it from another host, and the reverse-path above all Received fields.
func elsewhere(fields []headers.Field, by string) Facts {
	f := Facts{Header: fields, By: by}
	from, hasFrom, received := "", false, false
	for _, field := range fields {
		switch {
		case field.Is("Return-Path") && !received && !hasFrom:
			from, hasFrom = reversePath(field.Value)
		case field.Is("Received"):
			received = true
			if h, ok := parseReceived(field.Value); ok && h.isLastHop() && !h.time.IsZero() {
				f.Time, f.From = h.time, from
				f.know(Time, true)
				f.know(Sender, hasFrom)
				return f
			}
		}
	}
	return f
}

// findBorder finds the Received field of the border host and adds its facts. If the message comes from the
// site itself, it returns the lowest Received field of the site.
func (s Site) findBorder(fields []headers.Field, f *Facts) (border int, ok bool) {
	started, trusted := false, false
	for i, field := range fields {
		if !field.Is("Received") {
			continue
		}
		h, ok := parseReceived(field.Value)
		f.By = cmp.Or(f.By, h.by)
		ours := trusted || s.owns(h.by) // trusted: the host that added the field is the client of the field above
		switch {
		case !started && !ours:
			continue
		case !ours:
			f.Local = true // no host of the site received it from outside
			return border, true
		case !ok:
			return border, false
		}
		started, border = true, i
		f.setHop(h)
		trusted = h.client.IsValid() && s.trusts(h.client)
		if !h.handover && (!trusted || h.authenticated) {
			return border, true
		}
	}
	f.Local = started
	return border, started
}

// setHop sets the facts of a Received field.
func (f *Facts) setHop(h hop) {
	if h.handover {
		h.client, h.clientName = netip.Addr{}, "" // no client of SMTP
	}
	f.Client, f.ClientName, f.Helo, f.From, f.To, f.Time, f.QueueID = h.client, h.clientName, h.helo, h.from, h.to, h.time, h.id
	f.By, f.User, f.Known = h.by, "", 0
	if h.authenticated {
		f.User = cmp.Or(h.user, "unknown")
	}
	f.know(Client, h.client.IsValid())
	f.know(Helo, h.helo != "")
	f.know(Sender, h.hasFrom)
	f.know(Recipient, h.to != "")
	f.know(Time, !h.time.IsZero())
}

func (f *Facts) know(k Known, ok bool) {
	if ok {
		f.Known |= k
	}
}

// owns reports whether a host is one of the site by its name.
func (s Site) owns(host string) bool {
	if host == "" {
		return false
	}
	if literal := parseLiteral(host); literal.IsValid() {
		return s.trusts(literal)
	}
	return s.Hostname != "" && checks.SameName(host, s.Hostname) ||
		slices.ContainsFunc(s.Domains, func(d string) bool { return checks.Under(host, d) })
}

// trusts reports whether a client is a host of the site by its network.
func (s Site) trusts(client netip.Addr) bool {
	return slices.ContainsFunc(s.Trusted, func(p netip.Prefix) bool { return p.Contains(client) })
}

// addDelivery adds the facts of the fields that the site added at the final delivery. Return-Path is the reverse-path. A
// recipient that the Received field lacks is taken from X-Original-To or Envelope-To, which have the address before
// aliases were expanded, else from Delivered-To, which has the address after.
func (s Site) addDelivery(above []headers.Field, f *Facts) {
	for _, field := range above {
		if !field.Is("Return-Path") {
			continue
		}
		if from, ok := reversePath(field.Value); ok {
			f.From = from
			f.Known |= Sender
			break
		}
	}
	for _, name := range [...]string{"X-Original-To", "Envelope-To", "Delivered-To"} {
		for i := len(above) - 1; i >= 0 && f.Known&Recipient == 0; i-- { // the lowest field is the first one added
			if above[i].Is(name) {
				f.To = path(above[i].Value)
				f.know(Recipient, f.To != "")
			}
		}
	}
}

// reversePath returns the reverse-path of a Return-Path field. An MTA writes it in angle brackets, and some mail stores
// write an address without them. ok is false for anything else, such as nothing or the name of a local user, as
// some programs write that store or change messages after their delivery.
func reversePath(value string) (from string, ok bool) {
	from = path(value)
	brackets := len(from) < len(strings.TrimSpace(value))
	return from, brackets || strings.Contains(from, "@") && !strings.ContainsAny(from, "<> \t\r\n")
}

// path returns an address without its angle brackets.
func path(value string) string {
	value = strings.TrimSpace(value)
	start, end := strings.IndexByte(value, '<'), strings.LastIndexByte(value, '>')
	if start >= 0 && end > start {
		return strings.TrimSpace(value[start+1 : end])
	}
	return value
}

// deleteAddedID deletes the Message-ID if the border host added it, after its filters: it has the queue id
// and the name of the host.
func (f *Facts) deleteAddedID() {
	if f.QueueID == "" || f.By == "" {
		return
	}
	f.Header = slices.DeleteFunc(f.Header, func(field headers.Field) bool {
		if !field.Is("Message-ID") {
			return false
		}
		left, right, ok := strings.Cut(strings.Trim(strings.TrimSpace(field.Value), "<>"), "@")
		return ok && checks.SameName(right, f.By) && strings.Contains(left, f.QueueID)
	})
}
