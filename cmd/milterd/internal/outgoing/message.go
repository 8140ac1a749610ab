package outgoing

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"milterd/checks"
	"milterd/headers"
	"milterd/milter/mirror"
)

// maxShown is how much of a value is shown, in bytes.
const maxShown = 80

// judgeForm judges what needs no DNS: the form of the fields, and TLS.
func (m *message) judgeForm() {
	from := slices.DeleteFunc(slices.Clone(m.session.Envelope.Header), func(f headers.Field) bool { return !f.Is("From") })
	if fault := fromFault(from); fault != "" && !(len(from) == 0 && m.mtaAddsFields) {
		m.add(mirror.Hit{Finding: mirror.From, Seen: fault})
	}
	m.judgeField("Date", mirror.Date, func(v string) error { _, err := headers.ParseDate(v); return err })
	m.judgeField("Message-ID", mirror.MessageID, headers.CheckMessageID)
	if m.openLogin {
		m.add(mirror.Hit{Finding: mirror.TLS, Seen: "the user authenticated without TLS"})
	}
}

// judgeField judges the form of a field that a message has to have.
func (m *message) judgeField(name string, finding *mirror.Finding, check func(string) error) {
	f, ok := headers.First(m.session.Envelope.Header, name)
	err := check(f.Value)
	switch {
	case !ok && !m.mtaAddsFields:
		m.add(mirror.Hit{Finding: finding, Seen: "there is no " + name + " field"})
	case ok && err != nil:
		m.add(mirror.Hit{Finding: finding, Seen: fmt.Sprintf("%q: %s", checks.Clean(f.Value, maxShown), err)})
	}
}

// fromFault returns what is wrong with the From fields, or "". A display name that breaks the grammar leaves the address usable, so it
// is none.
func fromFault(fields []headers.Field) string {
	switch {
	case len(fields) == 0:
		return "there is no From field"
	case len(fields) > 1:
		return fmt.Sprintf("there are %d From fields", len(fields))
	}
	mailboxes, err := headers.ParseMailboxList(fields[0].Value)
	shown := fmt.Sprintf("%q", checks.Clean(fields[0].Value, maxShown))
	switch {
	case len(mailboxes) > 1:
		return fmt.Sprintf("%s has %d addresses", shown, len(mailboxes))
	case len(mailboxes) == 0 && err != nil:
		return shown + ": " + err.Error()
	case len(mailboxes) == 0:
		return shown + " has no address"
	default:
		return ""
	}
}

// judgeUnsubscribe judges one-click unsubscribe of bulk mail, RFC 8058 sections 3.1 and 4.
func (m *message) judgeUnsubscribe(s signatures) {
	if m.rcpts <= m.Bulk {
		return
	}
	link, hasLink := headers.First(m.session.Envelope.Header, "List-Unsubscribe")
	post, hasPost := headers.First(m.session.Envelope.Header, "List-Unsubscribe-Post")
	fault := ""
	switch {
	case !hasLink:
		fault = "there is no List-Unsubscribe field"
	case !hasHTTPS(link.Value):
		fault = "List-Unsubscribe has no https link"
	case !hasPost:
		fault = "there is no List-Unsubscribe-Post field"
	case !strings.EqualFold(strings.TrimSpace(post.Value), "List-Unsubscribe=One-Click"):
		fault = fmt.Sprintf("List-Unsubscribe-Post is %q", checks.Clean(post.Value, maxShown))
	case s.covered != nil && !slices.ContainsFunc(s.covered, coversUnsubscribe):
		fault = "no valid DKIM signature covers List-Unsubscribe and List-Unsubscribe-Post"
	default:
		return
	}
	m.add(mirror.Hit{Finding: mirror.Unsubscribe, Seen: fmt.Sprintf("a message to %d recipients: %s", m.rcpts, fault)})
}

func coversUnsubscribe(covered string) bool {
	names := strings.Split(covered, ":")
	return slices.Contains(names, "list-unsubscribe") && slices.Contains(names, "list-unsubscribe-post")
}

// hasHTTPS reports whether a List-Unsubscribe field has an https URI, RFC 2369 section 2.
func hasHTTPS(value string) bool {
	for part := range strings.SplitSeq(value, "<") {
		uri, _, closed := strings.Cut(part, ">")
		u, err := url.Parse(strings.Join(strings.Fields(uri), ""))
		if closed && err == nil && strings.EqualFold(u.Scheme, "https") && u.Host != "" {
			return true
		}
	}
	return false
}
