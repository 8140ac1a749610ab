package outgoing

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/checks/facts/dkim"
	"milterd/checks/facts/dmarc"
	"milterd/checks/facts/spf"
	"milterd/milter/mirror"
)

// judgeHost judges the reverse DNS and the HELO name of an address. What the DNS does not answer is no finding.
func (m *message) judgeHost(ctx context.Context, name string, address netip.Addr) {
	q := m.from(name, address)
	names, err := facts.Iprev(ctx, m.Env, q)
	shown := strings.Join(names.PTR, ", ")
	answer, errName := m.Env.DNS.Lookup(ctx, checks.Ask(name, checks.AddressType(address)))
	private := arePrivate(checks.Addresses(answer)) // then a PTR record with the name may be right for the receivers
	switch {
	case err != nil, private && names.Result == facts.IprevFail && slices.Contains(names.PTR, name):
		m.unanswered = append(m.unanswered, reverseDNS)
	case names.Result == facts.IprevPermError:
		m.add(mirror.Hit{Finding: mirror.RDNS, Seen: address.String() + " has no PTR record", Repair: ptrRecord(name, address)})
	case names.Result == facts.IprevFail:
		repair := ptrRecord(name, address) // a name of the provider is not ours to give an address
		if checks.OrgDomain(names.PTR[0]) == checks.OrgDomain(name) {
			repair = []string{addressRecord(names.PTR[0], address)}
		}
		m.add(mirror.Hit{Finding: mirror.RDNS, Seen: fmt.Sprintf("the name of %s is %s, which does not have this address", address, shown), Repair: repair})
	}
	if m.isRelay(names, name) {
		return
	}
	if errName != nil || private {
		m.unanswered = append(m.unanswered, heloName)
	} else if !slices.Contains(checks.Addresses(answer), address) {
		m.add(mirror.Hit{Finding: mirror.HELO, Seen: fmt.Sprintf("%s does not have the address %s", name, address), Repair: []string{addressRecord(name, address)}})
	}
}

// arePrivate reports whether there are addresses and all of them are private. Those of our mail server's name are if this machine has
// another view of the DNS than the receivers.
func arePrivate(addresses []netip.Addr) bool {
	return len(addresses) > 0 && !slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !a.IsPrivate() })
}

// isRelay reports whether an address of the configuration is that of somebody else's relay, whose HELO name is not ours.
func (m *message) isRelay(names facts.ClientNames, helo string) bool {
	return len(m.Addresses) > 0 && len(names.Confirmed) > 0 &&
		!slices.ContainsFunc(names.Confirmed, func(n string) bool { return checks.OrgDomain(n) == checks.OrgDomain(helo) })
}

// signatures is what the DKIM signatures of a message show.
type signatures struct {
	unsigned  bool     // none is of the author's domain yet: a later program may sign
	unknown   bool     // nothing is certain: the DNS did not answer, or a later program signs
	passes    bool     // one is valid
	covered   []string // dkim.Result.Covered of valid signatures; nil if that is not known
	selectors []string // of valid signatures of the author's domain
}

// judgeSignatures judges the DKIM signatures. Those of others are no fault if they are broken: a mailing list leaves them in the messages
// that it changes, and a later program signs.
func (m *message) judgeSignatures(ctx context.Context) (s signatures) {
	q := m.request
	q.Stage = checks.EndOfMessage
	if !facts.Signed(q) {
		if m.mayBeSigned(ctx) {
			return signatures{unsigned: true, unknown: true}
		}
		m.add(mirror.Hit{Finding: mirror.DKIMNone, Seen: "no signature, and nothing below _domainkey." + m.author})
		return signatures{}
	}
	results, _ := facts.DKIM(ctx, m.Env, q)
	if len(results) == 0 {
		return signatures{unknown: true} // DKIM is switched off
	}
	s.covered = []string{}
	var failed, passed *dkim.Result
	alignedPass, alignedFail := false, false // a signature that aligns with the author passes, or does not
	for i := range results {
		switch res := &results[i]; res.Status {
		case dkim.Pass:
			s.passes, passed = true, cmp.Or(passed, res)
			s.covered = append(s.covered, res.Covered)
			is, err := facts.Aligned(ctx, m.Env, q, m.author, res.Domain)
			alignedPass = alignedPass || is || err != nil
			if is && !slices.Contains(s.selectors, res.Selector) {
				s.selectors = append(s.selectors, res.Selector)
			}
		case dkim.TempError:
			s.unknown = true
		default:
			s.unknown = s.unknown || res.Status == dkim.Neutral && m.Env.Clock.Doubt(m.session.Time) != ""
			failed = cmp.Or(failed, res)
			is, err := facts.Aligned(ctx, m.Env, q, m.author, res.Domain)
			alignedFail = alignedFail || is
			s.unknown = s.unknown || err != nil
		}
	}
	switch {
	case s.passes && !alignedPass && !s.unknown:
		m.add(mirror.Hit{Finding: mirror.DKIMUnaligned, Seen: "signed by " + passed.Domain + ", written by " + m.author})
	case !s.passes && !s.unknown && !alignedFail && m.mayBeSigned(ctx):
		return signatures{unsigned: true, unknown: true}
	case !s.passes && !s.unknown && failed != nil:
		m.add(mirror.Hit{Finding: mirror.DKIMFail, Seen: fmt.Sprintf("signature of %s with the selector %s: %s", failed.Domain, failed.Selector, failed.Why)})
	case s.unknown:
		s.covered = nil
	}
	return s
}

// mayBeSigned reports whether a later program may sign the message so that others can verify it: unless the author's domain, and the one
// above it of the same organisation, certainly have no DKIM key. A domain with a key has a name below _domainkey, so _domainkey itself
// exists (RFC 8020).
func (m *message) mayBeSigned(ctx context.Context) bool {
	if m.author == "" {
		return true // by any domain
	}
	for _, domain := range slices.Compact([]string{m.author, checks.Organization(m.author)}) {
		a, err := m.Env.DNS.Lookup(ctx, checks.Ask("_domainkey."+domain, dns.TypeTXT))
		if err != nil || !a.NXDomain {
			return true
		}
	}
	return false
}

// judgeAuthentication judges SPF for each of our addresses, and what it shows together with the signatures.
func (m *message) judgeAuthentication(ctx context.Context, host Host, s signatures) {
	isBounce := m.session.Envelope.MailFrom.IsNull()
	for _, address := range host.Addresses {
		q := m.from(host.Name, address)
		ev, err := facts.MailFromSPF(ctx, m.Env, q)
		fails := err == nil && ev.Result != spf.Pass
		switch {
		case err != nil:
			m.unanswered = append(m.unanswered, spfRecords)
		case fails && !isBounce:
			m.addSPF(ctx, ev, address)
		}
		if fails && !s.passes && !s.unknown {
			m.add(mirror.Hit{Finding: mirror.AuthNone, Seen: fmt.Sprintf("from %s, with MAIL FROM of %s", address, ev.Domain)})
		}
		m.judgeDMARC(ctx, q, ev, s)
	}
	m.judgeAuthorDomain(ctx)
}

// addSPF adds that SPF does not pass.
func (m *message) addSPF(ctx context.Context, ev spf.Evaluation, address netip.Addr) {
	if ev.Domain == "" {
		return
	}
	if ev.Result == spf.None {
		m.add(mirror.Hit{Finding: mirror.SPFNone, Seen: ev.Domain + " has no SPF record", Repair: []string{spfRecord(ev.Domain, "v=spf1 mx ~all", address)}})
		return
	}
	hit := mirror.Hit{Finding: mirror.SPFFail, Seen: fmt.Sprintf("%s for %s from %s", ev.Result, ev.Domain, address)}
	if ev.Problem != "" {
		hit.Seen += ": " + ev.Problem
	} else if record := m.spfRecordOf(ctx, ev.Domain); record != "" {
		hit.Repair = []string{spfRecord(ev.Domain, record, address)}
	}
	m.add(hit)
}

// judgeDMARC judges whether the author's domain is shown.
func (m *message) judgeDMARC(ctx context.Context, q *checks.Request, ev spf.Evaluation, s signatures) {
	if m.author == "" || m.author != firstAuthor(q) {
		return // From is the fault, or the message is a bounce without author
	}
	d, err := facts.DMARC(ctx, m.Env, q)
	if err != nil || d.Result == dmarc.PermError {
		m.unanswered = append(m.unanswered, dmarcRecords)
		return
	}
	if d.PolicyDomain == "" {
		domain := checks.Organization(m.author)
		m.add(mirror.Hit{Finding: mirror.DMARCNone, Seen: "there is no record at _dmarc." + domain, Repair: []string{dmarcRecord(domain)}})
	}
	passes := d.Result == dmarc.Pass || d.Result == dmarc.None && m.anyAligned(ctx, q)
	if !passes && d.Missed == nil && !s.unknown {
		m.add(mirror.Hit{Finding: mirror.DMARCFail, Seen: fmt.Sprintf("From is of %s, MAIL FROM of %s with SPF %s from %s", m.author, cmp.Or(ev.Domain, "nobody"), ev.Result, q.Client)})
	}
}

// anyAligned reports whether anything that passes is, or may be, of the author's organisation.
func (m *message) anyAligned(ctx context.Context, q *checks.Request) bool {
	for _, id := range facts.Identifiers(ctx, m.Env, q) {
		if id.State == dmarc.Failed {
			continue
		}
		if aligned, err := facts.Aligned(ctx, m.Env, q, m.author, id.Domain); aligned || err != nil {
			return true
		}
	}
	return false
}

// judgeAuthorDomain judges whether the author can be answered.
func (m *message) judgeAuthorDomain(ctx context.Context) {
	if m.author == "" {
		return
	}
	receives, err := facts.ReceivesMail(ctx, m.Env, m.author)
	if err != nil {
		m.unanswered = append(m.unanswered, mailHosts)
	} else if !receives {
		m.add(mirror.Hit{Finding: mirror.FromDomain, Seen: m.author + " has neither MX nor address records, or a null MX", Repair: []string{m.author + ". IN MX 10 " + m.Env.Site.Hostname + "."}})
	}
}

// firstAuthor returns the first author domain of a message, or "".
func firstAuthor(q *checks.Request) string {
	if list := facts.MessageAuthors(q).Domains; len(list) > 0 {
		return list[0]
	}
	return ""
}

// maxRecord is the length of the longest record that is shown with a change, in bytes: it stays one string, RFC 1035 section 3.3.
const maxRecord = 200

// spfRecordOf returns the SPF record of a domain, or "" if there is not exactly one, or if it is long.
func (m *message) spfRecordOf(ctx context.Context, domain string) (record string) {
	a, err := m.Env.DNS.Lookup(ctx, checks.Ask(domain, dns.TypeTXT))
	if err != nil {
		return ""
	}
	for _, rr := range checks.RecordsOf[*dns.TXT](a) {
		text := strings.Join(rr.Txt, "") // with its escapes, as it is shown in a line of a zone file
		if lower := strings.ToLower(text); lower != "v=spf1" && !strings.HasPrefix(lower, "v=spf1 ") {
			continue
		}
		if record != "" || len(text) > maxRecord {
			return ""
		}
		record = text
	}
	return record
}

// spfRecord returns the record with an address added at its beginning, where no other term can decide before it.
func spfRecord(domain, record string, address netip.Addr) string {
	const version = "v=spf1"
	term := "ip6:"
	if address.Is4() {
		term = "ip4:"
	}
	return domain + `. IN TXT "` + version + " " + term + address.String() + record[len(version):] + `"`
}

func dmarcRecord(domain string) string {
	return "_dmarc." + domain + `. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@` + domain + `"`
}

func ptrRecord(name string, address netip.Addr) []string {
	reverse, err := dns.ReverseAddr(address.String())
	if err != nil {
		return nil
	}
	return []string{reverse + " IN PTR " + name + "."}
}

func addressRecord(name string, address netip.Addr) string {
	return name + ". IN " + dns.TypeToString[checks.AddressType(address)] + " " + address.String()
}
