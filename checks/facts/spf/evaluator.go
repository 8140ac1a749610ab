package spf

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

// Limits of RFC 7208 section 4.6.4.
const (
	spfMaxLookups = 10 // terms that ask the DNS
	spfMaxVoids   = 2  // those that find nothing
	spfMaxHosts   = 10 // MX records of one mx
)

// spfEval is one evaluation of check_host(). blitiri.com.ar/go/spf, against which it is tested, does not look for syntax
// errors behind the match, does not tell which record failed (whose exp= counts), leaves %{p} and parts of the macro
// grammar out, and asks for both families of addresses.
type spfEval struct {
	ctx      context.Context
	dns      checks.Resolver
	who      Subject
	policies map[string]spfPolicy // by domain, shared with probes
	probe    bool                 // the client is an address of a documentation network, see tooWide
	lookups  int
	voids    int
	names    *spfNames // nil: not asked for yet
}

// CheckHost judges a subject. The error is not nil if and only if the result is temperror.
func CheckHost(ctx context.Context, r checks.Resolver, who Subject) (Evaluation, error) {
	e := &spfEval{ctx: ctx, dns: r, who: who, policies: map[string]spfPolicy{}}
	return e.judge()
}

// spfError ends an evaluation without an answer.
type spfError struct {
	result Result // temperror or permerror
	text   string
	cause  error // of a temperror
}

// Error implements error. It has the cause, which names servers of ours: it is for the log alone.
func (e *spfError) Error() string {
	if e.cause == nil {
		return "spf: " + e.text
	}
	return "spf: " + e.text + ": " + e.cause.Error()
}

// Unwrap returns the cause of a temperror.
func (e *spfError) Unwrap() error { return e.cause }

func spfPermanent(format string, args ...any) *spfError {
	return &spfError{result: PermError, text: fmt.Sprintf(format, args...)}
}

func spfTemporary(q checks.Question, err error) *spfError {
	return &spfError{result: TempError, text: fmt.Sprintf("the DNS does not answer for %s", q), cause: err}
}

// spfFinding is what the record of one domain says.
type spfFinding struct {
	result Result
	by     string // domain whose record decided
	match  string
	noMail bool
	exp    string
}

// judge evaluates the policy of the subject, with the explanation of a fail.
func (e *spfEval) judge() (Evaluation, error) {
	out := Evaluation{Identity: e.who.Identity, Result: None}
	if !e.who.judged() {
		return out, nil
	}
	out.Domain = e.who.Domain
	f, err := e.checkHost(e.who.Domain)
	if err == nil && e.names != nil && e.names.err != nil && (f.result == Fail || f.result == SoftFail) {
		// RFC 7208 section 5.5 has "ptr" not match then. But that the DNS fails must not refuse mail for good.
		err = &spfError{result: TempError, text: "the DNS does not answer for the names of the client", cause: e.names.err}
	}
	out.Result, out.By, out.Match, out.NoMail = f.result, f.by, f.match, f.noMail
	out.Lookups, out.Voids = e.lookups, e.voids
	if err != nil {
		out.Result, out.Problem = err.result, err.text
		if err.result == TempError {
			return out, err
		}
		return out, nil
	}
	switch f.result {
	case Fail:
		if f.exp != "" {
			out.Explanation = e.explain(f)
		}
	case Pass:
		out.TooWide, out.WidthErr = e.tooWide()
	}
	return out, nil
}

// Addresses of the documentation networks, which nobody sends mail from: RFC 5737, and RFC 3849 with RFC 9637.
var (
	spfNobody4 = [...]netip.Addr{
		netip.AddrFrom4([4]byte{192, 0, 2, 255}),
		netip.AddrFrom4([4]byte{198, 51, 100, 255}),
		netip.AddrFrom4([4]byte{203, 0, 113, 255}),
	}
	spfNobody6 = [...]netip.Addr{
		netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 14: 0xff, 15: 0xff}),
		netip.AddrFrom16([16]byte{0x3f, 0xff, 14: 0xff, 15: 0xff}),
	}
)

// tooWide reports whether a pass is worth nothing because addresses of all documentation networks would get it too: those
// of IPv4, or for an IPv6 client, those of IPv6.
//
// A host's own address (a or mx without a prefix length) and a reverse name (ptr) are taken not to match a documentation
// address, without asking for them. So a record that lists networks costs no question but those for its include:,
// exists: and redirect= terms.
func (e *spfEval) tooWide() (bool, error) {
	if e.who.Client.Is6() {
		if wide, err := e.allPass(spfNobody6[:]); wide || err != nil {
			return wide, err
		}
	}
	return e.allPass(spfNobody4[:])
}

// allPass tells whether every one of the clients would get a pass.
func (e *spfEval) allPass(clients []netip.Addr) (bool, error) {
	for _, c := range clients {
		probe := &spfEval{ctx: e.ctx, dns: e.dns, who: e.who, policies: e.policies, probe: true}
		probe.who.Client = c
		f, err := probe.checkHost(probe.who.Domain)
		if err != nil && err.result == TempError {
			return false, err
		}
		if err != nil || f.result != Pass {
			return false, nil
		}
	}
	return true, nil
}

// checkHost is check_host() of RFC 7208 section 4 for a domain, given as it is and not in master-file form. The limit on
// lookups bounds its recursion.
func (e *spfEval) checkHost(domain string) (spfFinding, *spfError) {
	p := e.policy(domain)
	if p.err != nil || !p.found {
		return spfFinding{result: None}, p.err
	}
	if p.syntax != nil {
		return spfFinding{by: domain}, spfPermanent("in the record of %s: %v", domain, p.syntax)
	}
	r := p.record
	for _, d := range r.directives {
		matches, err := e.matches(d, domain)
		if err != nil {
			return spfFinding{by: domain, match: d.text}, err
		}
		if matches {
			return spfFinding{d.result, domain, d.text, r.onlyMinusAll(), r.exp}, nil
		}
	}
	if r.redirect == "" {
		return spfFinding{result: Neutral, by: domain}, nil
	}
	return e.follow(r, domain)
}

// follow evaluates redirect=, RFC 7208 section 6.1. The exp= of the record with the redirect= does not count any more.
func (e *spfEval) follow(r spfRecord, domain string) (spfFinding, *spfError) {
	if err := e.count("redirect=" + r.redirect); err != nil {
		return spfFinding{by: domain}, err
	}
	target, err := e.target(r.redirect, domain)
	if err != nil {
		return spfFinding{by: domain}, err
	}
	f, err := e.checkHost(target)
	if err == nil && f.result == None {
		return spfFinding{by: domain}, spfPermanent("in the record of %s: redirect= to %s, which has no SPF record", domain, target)
	}
	// A domain with directives of its own lets somebody send.
	f.noMail = f.noMail && len(r.directives) == 0
	return f, err
}

// spfPolicy is the SPF record of a domain, if there is one.
type spfPolicy struct {
	found  bool
	record spfRecord
	syntax error
	err    *spfError
}

// policy finds the SPF record of a domain, RFC 7208 sections 4.4 and 4.5. It is read once, however many clients are judged
// by it.
func (e *spfEval) policy(domain string) spfPolicy {
	if p, ok := e.policies[domain]; ok {
		return p
	}
	var p spfPolicy
	var text string
	if text, p.err = e.policyText(domain); text != "" {
		p.found = true
		p.record, p.syntax = parseSPF(text)
	}
	e.policies[domain] = p
	return p
}

func (e *spfEval) policyText(domain string) (string, *spfError) {
	name, ok := spfDNSName(domain)
	if !ok {
		return "", nil
	}
	a, err := e.ask(name, dns.TypeTXT)
	if err != nil {
		return "", err
	}
	found := ""
	for _, rr := range a.Records {
		t, ok := rr.(*dns.TXT)
		if !ok {
			continue
		}
		if txt := spfText(t); isSPF(txt) {
			if found != "" {
				return "", spfPermanent("%s has more than one SPF record", domain)
			}
			found = txt
		}
	}
	return found, nil
}

// matches tells whether a mechanism matches the client, RFC 7208 section 5.
func (e *spfEval) matches(d spfDirective, domain string) (bool, *spfError) {
	switch d.mechanism {
	case spfAll:
		return true, nil
	case spfIP:
		return d.network.Contains(e.who.Client), nil
	}
	if err := e.count(d.text); err != nil {
		return false, err
	}
	target := domain
	if d.spec != "" {
		var err *spfError
		if target, err = e.target(d.spec, domain); err != nil {
			return false, err
		}
	}
	switch d.mechanism {
	case spfInclude:
		return e.include(target, domain)
	case spfA:
		return e.matchesA(d, target)
	case spfMX:
		return e.matchesMX(d, target)
	case spfPTR:
		return e.matchesPTR(target), nil
	default:
		a, err := e.askTarget(target, dns.TypeA)
		return err == nil && len(checks.RecordsOf[*dns.A](a)) > 0, err
	}
}

// include evaluates the table of RFC 7208 section 5.2.
func (e *spfEval) include(target, domain string) (bool, *spfError) {
	f, err := e.checkHost(target)
	if err == nil && f.result == None {
		err = spfPermanent("in the record of %s: include:%s, which has no SPF record", domain, target)
	}
	return f.result == Pass, err
}

func (e *spfEval) matchesA(d spfDirective, target string) (bool, *spfError) {
	bits := d.bits(e.who.Client)
	if e.probe && bits == e.who.Client.BitLen() {
		return false, nil
	}
	a, err := e.askTarget(target, checks.AddressType(e.who.Client))
	return err == nil && spfHasAddress(a, e.who.Client, bits), err
}

// matchesMX asks for the addresses of every MX host before it lets a failed question count: the order of MX records is
// random, the result must not be.
func (e *spfEval) matchesMX(d spfDirective, target string) (bool, *spfError) {
	bits := d.bits(e.who.Client)
	if e.probe && bits == e.who.Client.BitLen() {
		return false, nil
	}
	a, err := e.askTarget(target, dns.TypeMX)
	if err != nil {
		return false, err
	}
	mxs := checks.RecordsOf[*dns.MX](a)
	if len(mxs) > spfMaxHosts {
		return false, spfPermanent("%s has more than %d MX records, the most that mx may meet", target, spfMaxHosts)
	}
	var failed *spfError
	hosts := spfHosts(mxs, e.who.Client)
	for i, f := range checks.LookupAll(e.ctx, e.dns, hosts...) {
		if f.Err != nil {
			failed = spfTemporary(hosts[i], f.Err)
		} else if spfHasAddress(f.Answer, e.who.Client, bits) {
			return true, nil
		}
	}
	return false, failed
}

func (e *spfEval) matchesPTR(target string) bool {
	name, ok := spfDNSName(target)
	if !ok {
		return false
	}
	for _, n := range e.validatedNames() {
		if checks.Under(n, name) {
			return true
		}
	}
	return false
}

// spfNames are the names of a client.
type spfNames struct {
	validated []string
	err       error // why a name may be missing
}

// validatedNames returns the names of the client that resolve to it, RFC 7208 section 5.5, of the first ten in alphabetic
// order. What fails in the DNS is left out, and noted; what is missing is no void lookup: the reverse zone is not the work of
// the domain that is judged.
func (e *spfEval) validatedNames() []string {
	if e.probe {
		return nil
	}
	if e.names == nil {
		e.names = e.lookupNames()
	}
	return e.names.validated
}

func (e *spfEval) lookupNames() *spfNames {
	reverse, err := dns.ReverseAddr(e.who.Client.WithZone("").String())
	if err != nil {
		return &spfNames{err: err}
	}
	a, failed := e.ask(reverse, dns.TypePTR)
	if failed != nil {
		return &spfNames{err: failed}
	}
	var candidates []string
	for _, ptr := range checks.RecordsOf[*dns.PTR](a) {
		if name := strings.TrimSuffix(dns.CanonicalName(ptr.Ptr), "."); name != "" {
			candidates = append(candidates, name)
		}
	}
	slices.Sort(candidates)
	candidates = slices.Compact(candidates)
	candidates = candidates[:min(len(candidates), spfMaxHosts)]
	questions := make([]checks.Question, len(candidates))
	for i, name := range candidates {
		questions[i] = checks.Ask(name, checks.AddressType(e.who.Client))
	}
	var names spfNames
	for i, r := range checks.LookupAll(e.ctx, e.dns, questions...) {
		switch {
		case r.Err != nil:
			names.err = cmp.Or(names.err, r.Err)
		case spfHasAddress(r.Answer, e.who.Client, e.who.Client.BitLen()):
			names.validated = append(names.validated, candidates[i])
		}
	}
	return &names
}

// count counts a term that asks the DNS, RFC 7208 section 4.6.4.
func (e *spfEval) count(term string) *spfError {
	if e.lookups >= spfMaxLookups {
		return spfPermanent("more than %d terms that ask the DNS, %q is one too many", spfMaxLookups, term)
	}
	e.lookups++
	return nil
}

// askTarget asks for what a mechanism is about, and counts a void lookup. That a name has no AAAA is none: else a domain
// whose hosts have IPv4 alone would break for IPv6 clients.
func (e *spfEval) askTarget(target string, t uint16) (checks.Answer, *spfError) {
	name, ok := spfDNSName(target)
	if !ok {
		return checks.Answer{NXDomain: true}, nil // never asked, so no lookup that found nothing
	}
	a, err := e.ask(name, t)
	if err != nil || !a.NXDomain && (t == dns.TypeAAAA || spfHasType(a, t)) {
		return a, err
	}
	e.voids++
	if e.voids > spfMaxVoids {
		return a, spfPermanent("more than %d terms that find nothing in the DNS, %s is one too many", spfMaxVoids, target)
	}
	return a, nil
}

// ask asks for a name in master-file form.
func (e *spfEval) ask(name string, t uint16) (checks.Answer, *spfError) {
	q := checks.Ask(name, t)
	a, err := e.dns.Lookup(e.ctx, q)
	if err != nil {
		return a, spfTemporary(q, err)
	}
	return a, nil
}
