package outgoing

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/facts/dkim"
	"milterd/headers"
	"milterd/milter/mirror"
)

// aspect is a part of what a domain is tested for.
type aspect string

const (
	reverseDNS   aspect = "reverse DNS"
	heloName     aspect = "HELO name"
	spfRecords   aspect = "SPF"
	dkimKeys     aspect = "DKIM"
	dmarcRecords aspect = "DMARC"
	mailHosts    aspect = "MX"
)

// aspects are in the order of a test. The findings of an aspect are its faults.
var aspects = []struct {
	name     aspect
	findings []*mirror.Finding
}{
	{name: reverseDNS, findings: []*mirror.Finding{mirror.RDNS}},
	{name: heloName, findings: []*mirror.Finding{mirror.HELO}},
	{name: spfRecords, findings: []*mirror.Finding{mirror.SPFNone, mirror.SPFFail, mirror.AuthNone}},
	{name: dkimKeys, findings: []*mirror.Finding{mirror.DKIMNone, mirror.DKIMFail}},
	{name: dmarcRecords, findings: []*mirror.Finding{mirror.DMARCNone, mirror.DMARCFail}},
	{name: mailHosts, findings: []*mirror.Finding{mirror.FromDomain}},
}

// Test is what the DNS says of a domain and of the host that sends its mail.
type Test struct {
	Domain    string           `json:"domain"`
	Host      Host             `json:"host"`
	Selectors []string         `json:"selectors"`
	OK        []string         `json:"ok"`      // aspects in order
	Unknown   []string         `json:"unknown"` // aspects that could not be tested
	Faults    []mirror.Fault   `json:"faults"`
	Verdicts  []mirror.Verdict `json:"verdicts"`
	Notes     []string         `json:"notes"`
}

// Test tests a domain by the DNS alone, for mail from our host with an address of the domain in MAIL FROM and From. selectors are those of
// its DKIM keys, as far as they are known.
func (s Site) Test(ctx context.Context, domain string, selectors []string, now time.Time) Test {
	t := Test{ // [] in JSON
		Domain: domain, Host: s.host(ctx, ""), Selectors: append([]string{}, selectors...), OK: []string{}, Unknown: []string{},
		Faults: []mirror.Fault{}, Notes: []string{},
	}
	m := &message{Site: s, author: domain, session: &checks.Session{Time: now}}
	m.session.Envelope.MailFrom = checks.ParseAddress("postmaster@" + domain)
	m.session.Envelope.Header = []headers.Field{{Name: "From", Value: " postmaster@" + domain}}
	m.request = checks.NewRequest(m.session, checks.EndOfHeader)
	keys := m.testKeys(ctx, selectors, &t)
	for _, address := range t.Host.Addresses {
		m.judgeHost(ctx, t.Host.Name, address)
	}
	m.judgeAuthentication(ctx, t.Host, keys)
	if len(t.Host.Addresses) == 0 {
		m.unanswered = append(m.unanswered, reverseDNS, heloName, spfRecords, dmarcRecords)
		t.Notes = append(t.Notes, "The address that mail leaves from is not known, neither from this machine nor from "+t.Host.Name+" in the DNS. Set mirror.addresses.")
	}
	t.setResults(m)
	return t
}

// testKeys tests the keys of the selectors.
func (m *message) testKeys(ctx context.Context, selectors []string, t *Test) signatures {
	if len(selectors) == 0 {
		s := m.judgeSignatures(ctx)
		if s.unsigned {
			m.unanswered = append(m.unanswered, dkimKeys)
			t.Notes = append(t.Notes, "No DKIM selector is known, as no signed mail of the domain was seen. Name one with --selector.")
		}
		return s
	}
	s := signatures{}
	for _, selector := range selectors {
		name := selector + "._domainkey." + m.author
		a, err := m.Env.DNS.Lookup(ctx, checks.Ask(name, dns.TypeTXT))
		if err != nil {
			s.unknown = true
			m.unanswered = append(m.unanswered, dkimKeys)
			continue
		}
		if why := dkim.KeyFault(a); why != "" {
			m.add(mirror.Hit{Finding: mirror.DKIMFail, Seen: name + ": " + why})
			continue
		}
		s.passes, s.unknown = true, true // there is a key, but whether messages are signed is not known
	}
	return s
}

// setResults sets the results: those of the aspects, the faults and the verdicts.
func (t *Test) setResults(m *message) {
	var found []*mirror.Finding
	for _, f := range mirror.Findings() {
		if i := slices.IndexFunc(m.hits, func(h mirror.Hit) bool { return h.Finding == f }); i >= 0 {
			found = append(found, f)
			t.Faults = append(t.Faults, mirror.Fault{Finding: f.ID, Seen: m.hits[i].Seen, Repair: m.hits[i].Repair})
		}
	}
	for _, a := range aspects {
		switch {
		case slices.ContainsFunc(a.findings, func(f *mirror.Finding) bool { return slices.Contains(found, f) }):
		case slices.Contains(m.unanswered, a.name):
			t.Unknown = append(t.Unknown, string(a.name))
		default:
			t.OK = append(t.OK, string(a.name))
		}
	}
	t.Verdicts = mirror.VerdictsOn(found, func(string) bool { return false })
}

// String says what was tested.
func (t Test) String() string {
	var addresses []string
	for _, a := range t.Host.Addresses {
		addresses = append(addresses, a.String())
	}
	text := fmt.Sprintf("%s, as others see its mail from %s", t.Domain, t.Host.Name)
	if len(addresses) > 0 {
		text += " (" + strings.Join(addresses, ", ") + ")"
	}
	return text
}
