package spf

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"milterd/checks"
)

// The limits of section 4.6.4.
const (
	maxLookups = 10 // terms that ask the DNS
	maxVoids   = 2  // terms that ask the DNS and find nothing
	maxHosts   = 10 // MX records of one mx term; names of the client for ptr and %{p}
)

// evaluator is one evaluation of check_host().
type evaluator struct {
	ctx      context.Context
	dns      checks.Resolver
	subject  Subject
	policies map[string]policy // those looked up so far, by domain; the evaluations of tooWide share it
	probe    bool              // the client is an address of a documentation network, see evaluator.tooWide
	lookups  int               // terms that asked the DNS
	voids    int               // terms that asked the DNS and found nothing
	names    *clientNames      // nil until they are needed
}

// decision is what the record of one domain says about the client.
type decision struct {
	result Result
	by     string // domain whose record decided
	match  string // directive that matched, as published
	noMail bool
	exp    string // domain-spec of exp=
}

// resultError ends an evaluation with TempError or PermError.
type resultError struct {
	result Result
	text   string
	cause  error // for TempError
	client bool  // for TempError: the client, or the owner of its names, chose the name of the question
}

// markClient marks a TempError of a term with a domain-spec that has %{h} or %{p}: the client chooses one, the owner of its names the
// other.
func (e *resultError) markClient(spec string) *resultError {
	if e != nil && e.result == TempError && hasMacro(spec, "hp") {
		e.client = true
	}
	return e
}

// Error implements error. The text includes the cause, which may name the site's own DNS servers: it is for the log only.
func (e *resultError) Error() string {
	if e.cause == nil {
		return "spf: " + e.text
	}
	return "spf: " + e.text + ": " + e.cause.Error()
}

// Unwrap returns the cause of a TempError.
func (e *resultError) Unwrap() error { return e.cause }

func permError(format string, args ...any) *resultError {
	return &resultError{result: PermError, text: fmt.Sprintf(format, args...)}
}

func tempError(q checks.Question, err error) *resultError {
	return &resultError{result: TempError, text: fmt.Sprintf("the DNS does not answer for %s", q), cause: err}
}

// checkHost is check_host() for a domain, which need not be in master-file form. maxLookups bounds its recursion.
func (e *evaluator) checkHost(domain string) (decision, *resultError) {
	p := e.policy(domain)
	if p.err != nil || !p.found {
		return decision{result: None}, p.err
	}
	if p.syntax != nil {
		return decision{by: domain}, permError("in the record of %s: %v", domain, p.syntax)
	}
	r := p.record
	for _, d := range r.directives {
		matches, err := e.matches(d, domain)
		if err != nil {
			return decision{by: domain, match: d.text}, err
		}
		if matches {
			return decision{result: d.result, by: domain, match: d.text, noMail: r.onlyMinusAll(), exp: r.exp}, nil
		}
	}
	if r.redirect == "" {
		return decision{result: Neutral, by: domain}, nil
	}
	return e.redirect(r, domain)
}

// redirect evaluates the redirect= of a record, section 6.1. The exp= of that record does not apply.
func (e *evaluator) redirect(r record, domain string) (decision, *resultError) {
	if e.skipsTarget(r.redirect) {
		return decision{result: Neutral, by: domain}, nil
	}
	if err := e.countLookup("redirect=" + r.redirect); err != nil {
		return decision{by: domain}, err
	}
	target, err := e.target(r.redirect, domain)
	if err != nil {
		return decision{by: domain}, err
	}
	d, err := e.checkHost(target)
	err = err.markClient(r.redirect)
	if err == nil && d.result == None {
		return decision{by: domain}, permError("in the record of %s: redirect= to %s, which has no SPF record", domain, target)
	}
	d.noMail = d.noMail && len(r.directives) == 0 // a domain with directives of its own sends mail
	return d, err
}

// policy is the SPF record of a domain, or why there is none.
type policy struct {
	found  bool
	record record
	syntax error // error in the record
	err    *resultError
}

// policy looks up the SPF record of a domain, sections 4.4 and 4.5.
func (e *evaluator) policy(domain string) policy {
	p, ok := e.policies[domain]
	if ok {
		return p
	}
	var text string
	if text, p.err = e.policyText(domain); text != "" {
		p.found = true
		p.record, p.syntax = parseRecord(text)
	}
	e.policies[domain] = p
	return p
}

func (e *evaluator) policyText(domain string) (string, *resultError) {
	name, ok := dnsName(domain)
	if !ok {
		return "", nil
	}
	a, err := e.ask(name, dns.TypeTXT)
	if err != nil {
		return "", err
	}
	records := slices.DeleteFunc(checks.Texts(a), func(text string) bool { return !isRecord(text) })
	switch len(records) {
	case 0:
		return "", nil
	case 1:
		return records[0], nil
	default:
		return "", permError("%s has more than one SPF record", domain)
	}
}

// countLookup counts a term that asks the DNS, section 4.6.4.
func (e *evaluator) countLookup(term string) *resultError {
	if e.lookups >= maxLookups {
		return permError("more than %d terms that ask the DNS, %q is one too many", maxLookups, term)
	}
	e.lookups++
	return nil
}

// askTarget asks for records at the target of a mechanism and counts void lookups. A missing AAAA record does not count, or domains
// whose hosts have IPv4 addresses only would get PermError for IPv6 clients.
func (e *evaluator) askTarget(target string, t uint16) (checks.Answer, *resultError) {
	name, ok := dnsName(target)
	if !ok {
		return checks.Answer{NXDomain: true}, nil // no question, so no void lookup
	}
	a, err := e.ask(name, t)
	if err != nil || !a.NXDomain && (t == dns.TypeAAAA || hasType(a, t)) {
		return a, err
	}
	e.voids++
	if e.voids > maxVoids {
		return a, permError("more than %d terms that find nothing in the DNS, %s is one too many", maxVoids, target)
	}
	return a, nil
}

func (e *evaluator) ask(name string, t uint16) (checks.Answer, *resultError) {
	q := checks.Ask(name, t)
	a, err := e.dns.Lookup(e.ctx, q)
	if err != nil {
		return a, tempError(q, err)
	}
	return a, nil
}

// Addresses of the documentation networks, which nobody sends mail from.
var (
	documentation4 = []netip.Addr{ // RFC 5737
		netip.MustParseAddr("192.0.2.255"), netip.MustParseAddr("198.51.100.255"), netip.MustParseAddr("203.0.113.255"),
	}
	documentation6 = []netip.Addr{ // RFC 3849, RFC 9637
		netip.MustParseAddr("2001:db8::ffff"), netip.MustParseAddr("3fff::ffff"),
	}
)

// tooWide reports whether a policy lets addresses of all documentation networks pass: those of IPv4, or for an IPv6 client those
// of IPv6. Such a pass says nothing about the client.
//
// Mechanisms that match single hosts (a and mx without a prefix length, ptr) do not match these addresses, and no question is asked
// for them. The same holds for terms with a macro of the local part, such as exists:%{l}._spf.example.net, which allow single
// senders wherever they send from. Only other include:, exists: and redirect= terms cost questions that the evaluation for the client
// has not asked.
func (e *evaluator) tooWide() (bool, error) {
	if e.subject.Client.Is6() {
		if wide, err := e.allPass(documentation6); wide || err != nil {
			return wide, err
		}
	}
	return e.allPass(documentation4)
}

func (e *evaluator) allPass(clients []netip.Addr) (bool, error) {
	for _, client := range clients {
		probe := &evaluator{ctx: e.ctx, dns: e.dns, subject: e.subject, policies: e.policies, probe: true}
		probe.subject.Client = client
		d, err := probe.checkHost(probe.subject.Domain)
		if err != nil && err.result == TempError {
			return false, err
		}
		if err != nil || d.result != Pass {
			return false, nil
		}
	}
	return true, nil
}
