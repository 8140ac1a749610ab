// Package outgoing judges mail of this site as other sites would: it builds the session in which our mail server delivers a message
// to a receiver, and asks the facts that checks use for incoming mail. Package mirror has the findings and counts them.
//
// Start reading at Site.Message, which takes a message of a session. message.go judges its form, authentication.go what the DNS and
// the signatures say, and domain.go tests a domain without a message.
package outgoing

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/milter/mirror"
)

// Site is what outgoing mail is judged by. It does not change.
type Site struct {
	Env       checks.Env   // with Site, DNS and Signatures
	Bulk      int          // a message to more recipients at other sites is bulk mail
	Addresses []netip.Addr // from which our mail server sends; empty: they are found out, see host
}

// Host is our mail server as others see it.
type Host struct {
	Name      string       `json:"name"` // in HELO
	Addresses []netip.Addr `json:"addresses"`
}

// maxAddresses is the number of addresses of a host that are judged, unless the configuration names them.
const maxAddresses = 4

// host returns the mail server that uses a HELO name; empty: that of the site. Its addresses are the first of these lists that is not empty:
//   - those of the configuration
//   - the public addresses of this machine that the name has
//   - the public addresses of the name in a family of which this machine has none, as behind NAT
//   - the public addresses of this machine, unless the DNS did not answer for the name: a wrong address makes false findings
func (s Site) host(ctx context.Context, name string) Host {
	h := Host{Name: cmp.Or(strings.ToLower(name), s.Env.Site.Hostname), Addresses: s.Addresses}
	if len(h.Addresses) > 0 {
		return h
	}
	public := func(list []netip.Addr) []netip.Addr {
		return slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool { return !checks.GloballyReachable(a) })
	}
	own := public(s.Env.Site.Addresses)
	named, err := s.addressesOf(ctx, h.Name)
	named = public(named)
	both := slices.DeleteFunc(slices.Clone(own), func(a netip.Addr) bool { return !slices.Contains(named, a) })
	translated := slices.DeleteFunc(slices.Clone(named), func(a netip.Addr) bool {
		return slices.ContainsFunc(own, func(b netip.Addr) bool { return a.Is4() == b.Is4() })
	})
	switch {
	case len(both) > 0:
		h.Addresses = both
	case len(translated) > 0:
		h.Addresses = translated
	case err == nil:
		h.Addresses = own
	}
	h.Addresses = append([]netip.Addr{}, h.Addresses[:min(len(h.Addresses), maxAddresses)]...) // [] in JSON
	return h
}

// addressesOf returns the addresses of a name that the DNS has. With an error, some may be missing.
func (s Site) addressesOf(ctx context.Context, name string) (list []netip.Addr, err error) {
	for _, res := range checks.LookupAll(ctx, s.Env.DNS, checks.Ask(name, dns.TypeA), checks.Ask(name, dns.TypeAAAA)) {
		list, err = append(list, checks.Addresses(res.Answer)...), cmp.Or(err, res.Err)
	}
	return list, err
}

// Leaves reports whether a message goes to another site.
func (s Site) Leaves(r *checks.Request) bool {
	return slices.ContainsFunc(r.Envelope.Rcpts, s.isOutside)
}

func (s Site) isOutside(rcpt checks.Recipient) bool {
	return rcpt.Refused == "" && rcpt.Domain != "" && !s.Env.Site.IsLocal(rcpt.Domain)
}

// messageBytes is the memory that a message holds beside its header fields, with the verifier of its signatures.
const messageBytes = 8 << 10

// judged are the header fields that are judged.
var judged = []string{"From", "Date", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post", "DKIM-Signature"}

// maxFields is the number of fields that are kept; a message with more has its rest unjudged.
const maxFields = 50

// Message returns a message that was accepted of a trusted client, or nil if it does not leave the site. Nothing in it belongs to the
// session.
func (s Site) Message(r *checks.Request) *mirror.Message {
	if len(r.Envelope.Header) == 0 || !s.Leaves(r) {
		return nil
	}
	from := r.Envelope.MailFrom
	m := &message{Site: s, helo: r.Macros["j"], session: &checks.Session{ID: r.ID, Time: r.Time}}
	m.session.Envelope = checks.Envelope{QueueID: r.Envelope.QueueID, MailFrom: from}
	out := &mirror.Message{Time: r.Time, Queue: r.Envelope.QueueID, User: userOf(r), To: map[string]int{}, Size: messageBytes, Judge: m.judge}
	for _, f := range r.Envelope.Header {
		if slices.ContainsFunc(judged, f.Is) && len(m.session.Envelope.Header) < maxFields {
			m.session.Envelope.Header = append(m.session.Envelope.Header, f)
			out.Size += len(f.Name) + len(f.Value)
		}
	}
	m.request = checks.NewRequest(m.session, checks.EndOfHeader)
	facts.CarryDKIM(s.Env, r, m.request)
	m.author = cmp.Or(firstAuthor(m.request), from.Domain)
	out.Domain, out.Own = m.author, len(s.Env.Site.LocalDomains) == 0 || slices.ContainsFunc(s.Env.Site.LocalDomains, func(d string) bool { return checks.Under(m.author, d) })
	for _, rcpt := range r.Envelope.Rcpts {
		if !s.isOutside(rcpt) {
			continue
		}
		m.rcpts++
		if receiver := mirror.ReceiverOf(rcpt.Domain); receiver != "" {
			out.To[receiver]++
		}
	}
	m.openLogin = r.AuthUser != "" && r.Client.IsValid() && !r.Client.IsLoopback() && r.Macros["{client_addr}"] != "" && r.Macros["{tls_version}"] == ""
	// Sendmail, with a version such as 8.17.1, adds missing fields at delivery and sends milters none of them. Those that Postfix adds are
	// seen.
	m.mtaAddsFields = strings.HasPrefix(r.Macros["v"], "8.")
	return out
}

// userOf returns who sends: the user, or else the address of the trusted client.
func userOf(r *checks.Request) string {
	switch {
	case r.AuthUser != "":
		return strings.ToLower(r.AuthUser)
	case r.Session.Client.IsValid():
		return r.Session.Client.String()
	default:
		return "local"
	}
}

// message is an outgoing message. One goroutine judges it.
type message struct {
	Site
	helo      string          // name of our mail server; empty: unknown
	session   *checks.Session // without a client
	request   *checks.Request // about session, with the verifier of the signatures
	author    string          // domain in From; of the reverse-path if there is none
	rcpts     int             // at other sites
	openLogin bool            // the user authenticated without TLS

	mtaAddsFields bool // after milters, if they are missing

	hits       []mirror.Hit
	unanswered []aspect // by the DNS; may have one twice
}

// judge judges the message as delivered from each address of our host.
func (m *message) judge(ctx context.Context) mirror.Judgement {
	host := m.host(ctx, m.helo)
	m.judgeForm()
	s := m.judgeSignatures(ctx)
	for _, address := range host.Addresses {
		m.judgeHost(ctx, host.Name, address)
	}
	m.judgeAuthentication(ctx, host, s)
	m.judgeUnsubscribe(s)
	return mirror.Judgement{Hits: m.hits, Unsigned: s.unsigned, Selectors: s.selectors}
}

// add adds a finding, once.
func (m *message) add(h mirror.Hit) {
	if !slices.ContainsFunc(m.hits, func(old mirror.Hit) bool { return old.Finding == h.Finding }) {
		m.hits = append(m.hits, h)
	}
}

// from returns a Request about the message as a receiver would see it from one of our addresses.
func (m *message) from(name string, address netip.Addr) *checks.Request {
	s := *m.session
	s.Client, s.Helo = address, name
	q := checks.NewRequest(&s, checks.EndOfMessage)
	facts.CarryDKIM(m.Env, m.request, q)
	return q
}
