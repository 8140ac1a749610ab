package received

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/headers"
)

// Site is the mail site whose border the messages have passed.
type Site struct {
	Hostname string         // of the border, as it calls itself in Received fields
	Domains  []string       // a host with one of these names, or with one below, is a border host too
	Trusted  []netip.Prefix // clients from here are hosts of the site
}

// Known are the things that a stored message may tell about the session in which it came.
type Known uint8

// The things. Client and Helo are those at the border. Content is the header section as the border has seen it: Read leaves it to
// the caller to say so.
const (
	Client Known = 1 << iota
	Helo
	Sender
	Recipient
	Time
	Content
	Everything = 1<<iota - 1
)

// String names them, as in "client, time".
func (k Known) String() string {
	var words []string
	for i, w := range [...]string{"client", "HELO", "sender", "recipient", "time", "header section"} {
		if k&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return strings.Join(words, ", ")
}

// Facts are what is known of the session.
type Facts struct {
	Known      Known
	Local      bool       // submitted on a host of the site, or by one
	Client     netip.Addr // the border's client; of a Local message the site's own host, if there was one
	ClientName string
	Helo       string
	User       string // who authenticated; "unknown" if that is not told
	From       string // reverse-path
	To         string // recipient
	Time       time.Time
	QueueID    string
	By         string // the border, or the host that wrote the uppermost Received field if none is a border of the site

	// Header is the header section as a filter of the border has seen it: without the trace fields that the site has put on
	// top.
	Header []headers.Field
}

// Read makes up the session of a stored message from its header section.
//
// The border is the first host from the top with a name of the site that has the message from outside: below a field of a
// trusted client the next field counts whatever the name of its host, as that host is the site's too. Who is above the site's
// first field, such as a mail store elsewhere, is skipped. What stands above the border's field was written by the site and is
// believed; below it, Authentication-Results and Received-SPF are if they name a host of the site.
func Read(fields []headers.Field, site Site) Facts {
	f := Facts{Header: fields}
	at, ok := site.border(fields, &f)
	if !ok {
		return Facts{Header: fields, By: f.By}
	}
	site.delivery(fields[:at], &f)
	for _, field := range fields[:at] {
		site.results(field, &f)
	}
	f.Header = nil
	before := true // the next Received field
	for _, field := range fields[at+1:] {
		before = before && !field.Is("Received")
		if before && site.wrote(field) {
			site.results(field, &f)
		} else {
			f.Header = append(f.Header, field)
		}
	}
	f.addedID()
	return f
}

// border finds the field of the border and reads it.
func (s Site) border(fields []headers.Field, f *Facts) (at int, ok bool) {
	began, trusted := false, false
	for i, field := range fields {
		if !field.Is("Received") {
			continue
		}
		h, ok := ParseReceived(field.Value)
		if f.By == "" {
			f.By = h.By
		}
		switch {
		case !began && !s.Owns(h.By):
			continue
		case began && !trusted && !s.Owns(h.By):
			return at, s.local(f, true) // no other host had it before
		case !ok:
			return at, false
		}
		began, at = true, i
		f.By = h.By
		f.fill(h)
		trusted = h.Client.IsValid() && s.Trusts(h.Client)
		if !h.Handover && (!trusted || h.Auth) {
			return at, true
		}
	}
	return at, s.local(f, began)
}

// local notes that no other host than those of the site had the message.
func (s Site) local(f *Facts, began bool) bool {
	f.Local = began
	return began
}

// fill takes over what a field says. That of the border comes last.
func (f *Facts) fill(h Hop) {
	f.Known, f.User = 0, ""
	f.Client, f.ClientName, f.Helo, f.From, f.To, f.Time, f.QueueID = h.Client, h.ClientName, h.Helo, h.From, h.For, h.Time, h.ID
	if h.Auth {
		f.User = h.User
		if f.User == "" {
			f.User = "unknown"
		}
	}
	f.know(Client, h.Client.IsValid())
	f.know(Helo, h.Helo != "")
	f.know(Sender, h.HasFrom)
	f.know(Recipient, h.For != "")
	f.know(Time, !h.Time.IsZero())
}

func (f *Facts) know(k Known, ok bool) {
	if ok {
		f.Known |= k
	}
}

// Owns tells whether a host is one of the site by its name.
func (s Site) Owns(host string) bool {
	if host == "" {
		return false
	}
	if literal := parseAddr(host, true); literal.IsValid() {
		return s.Trusts(literal)
	}
	return s.Hostname != "" && checks.SameName(host, s.Hostname) ||
		slices.ContainsFunc(s.Domains, func(d string) bool { return checks.Under(host, d) })
}

// Trusts tells whether a client is a host of the site by its network.
func (s Site) Trusts(a netip.Addr) bool {
	return slices.ContainsFunc(s.Trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}

// delivery reads what the site has put above the field of its border when it delivered the message. Return-Path is the
// reverse-path. The recipient is that of the border's field, else the one before the site's aliases (X-Original-To,
// Envelope-To), else the one after them.
func (s Site) delivery(above []headers.Field, f *Facts) {
	for _, field := range above {
		if field.Is("Return-Path") {
			f.From, _ = path(field.Value)
			f.Known |= Sender
			break
		}
	}
	for _, name := range [...]string{"X-Original-To", "Envelope-To", "Delivered-To"} {
		for i := len(above) - 1; i >= 0 && f.Known&Recipient == 0; i-- { // the lowest was first
			if above[i].Is(name) {
				to, _ := path(above[i].Value)
				f.To = to
				f.know(Recipient, to != "")
			}
		}
	}
}

// path takes an address out of its angle brackets.
func path(value string) (string, bool) {
	value = strings.TrimSpace(value)
	open, end := strings.IndexByte(value, '<'), strings.LastIndexByte(value, '>')
	if open >= 0 && end > open {
		return strings.TrimSpace(value[open+1 : end]), true
	}
	return value, false
}

// addedID takes the Message-ID out of the header if the border has added it: it has the queue id and the border's name in it.
// The filter did not see it.
func (f *Facts) addedID() {
	if f.QueueID == "" || f.By == "" {
		return
	}
	added := func(field headers.Field) bool {
		if !field.Is("Message-ID") {
			return false
		}
		left, right, ok := strings.Cut(strings.Trim(strings.TrimSpace(field.Value), "<>"), "@")
		return ok && checks.SameName(right, f.By) && strings.Contains(left, f.QueueID)
	}
	f.Header = slices.DeleteFunc(f.Header, added)
}
