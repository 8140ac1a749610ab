package spf

import (
	"cmp"
	"slices"

	"github.com/miekg/dns"

	"milterd/checks"
)

// matches reports whether a directive matches the client, section 5. domain is the one whose record it is in.
func (e *evaluator) matches(d directive, domain string) (bool, *resultError) {
	switch d.mechanism {
	case mechAll:
		return true, nil
	case mechIP4, mechIP6:
		return d.network.Contains(e.subject.Client), nil
	}
	if e.skipsTarget(d.spec) {
		return false, nil
	}
	if err := e.countLookup(d.text); err != nil {
		return false, err
	}
	target, err := e.target(d.spec, domain)
	if err != nil {
		return false, err
	}
	matches, err := e.matchesTarget(d, target, domain)
	return matches, err.markClient(d.spec)
}

// matchesTarget reports whether a directive that asks the DNS matches the client. target is its expanded domain-spec.
func (e *evaluator) matchesTarget(d directive, target, domain string) (bool, *resultError) {
	switch d.mechanism {
	case mechInclude:
		return e.matchesInclude(target, domain)
	case mechA:
		return e.matchesA(d, target)
	case mechMX:
		return e.matchesMX(d, target)
	case mechPTR:
		return e.matchesPTR(target), nil
	default: // exists
		a, err := e.askTarget(target, dns.TypeA)
		return err == nil && hasType(a, dns.TypeA), err
	}
}

// matchesInclude implements the table of section 5.2.
func (e *evaluator) matchesInclude(target, domain string) (bool, *resultError) {
	d, err := e.checkHost(target)
	if err == nil && d.result == None {
		err = permError("in the record of %s: include:%s, which has no SPF record", domain, target)
	}
	return err == nil && d.result == Pass, err
}

func (e *evaluator) matchesA(d directive, target string) (bool, *resultError) {
	if e.isSingleHost(d) {
		return false, nil
	}
	client := e.subject.Client
	a, err := e.askTarget(target, checks.AddressType(client))
	return err == nil && hasAddress(a, client, d.bits(client)), err
}

// matchesMX asks for the addresses of all MX hosts before a failed question counts. The order of MX records is random, and the
// result must not depend on it.
func (e *evaluator) matchesMX(d directive, target string) (bool, *resultError) {
	if e.isSingleHost(d) {
		return false, nil
	}
	client := e.subject.Client
	a, err := e.askTarget(target, dns.TypeMX)
	if err != nil {
		return false, err
	}
	mxs := checks.RecordsOf[*dns.MX](a)
	if len(mxs) > maxHosts {
		return false, permError("%s has more than %d MX records, the limit for mx", target, maxHosts)
	}
	var failed *resultError
	questions := hostQuestions(mxs, client)
	for i, r := range checks.LookupAll(e.ctx, e.dns, questions...) {
		if r.Err != nil {
			failed = tempError(questions[i], r.Err)
		} else if hasAddress(r.Answer, client, d.bits(client)) {
			return true, nil
		}
	}
	return false, failed
}

// isSingleHost reports whether a probe skips an a or mx directive, see tooWide.
func (e *evaluator) isSingleHost(d directive) bool {
	return e.probe && d.bits(e.subject.Client) == e.subject.Client.BitLen()
}

// skipsTarget reports whether a probe skips a term with a domain-spec, see tooWide. The local part of a HELO name is always
// the same.
func (e *evaluator) skipsTarget(spec string) bool {
	return e.probe && e.subject.Identity == MailFrom && hasMacro(spec, "ls")
}

func (e *evaluator) matchesPTR(target string) bool {
	name, ok := dnsName(target)
	return ok && slices.ContainsFunc(e.validatedNames(), func(n string) bool { return checks.Under(n, name) })
}

// clientNames are the validated names of the client, section 5.5.
type clientNames struct {
	validated []string
	err       error // why a name may be missing
}

// validatedNames returns the names of the client that resolve to it. A failed question leaves its name out.
func (e *evaluator) validatedNames() []string {
	if e.probe {
		return nil
	}
	if e.names == nil {
		e.names = e.lookupNames()
	}
	return e.names.validated
}

// lookupNames asks for the names of the client and for their addresses. Missing records are no void lookups, as the judged
// domain does not control the reverse zone.
func (e *evaluator) lookupNames() *clientNames {
	client := e.subject.Client
	reverse, err := dns.ReverseAddr(client.String())
	if err != nil {
		return &clientNames{err: err}
	}
	a, failed := e.ask(reverse, dns.TypePTR)
	if failed != nil {
		return &clientNames{err: failed}
	}
	candidates := checks.PTRNames(a)
	candidates = candidates[:min(len(candidates), maxHosts)]
	var names clientNames
	for i, r := range checks.LookupAll(e.ctx, e.dns, checks.AddressQuestions(client, candidates)...) {
		switch {
		case r.Err != nil:
			names.err = cmp.Or(names.err, r.Err)
		case hasAddress(r.Answer, client, client.BitLen()):
			names.validated = append(names.validated, candidates[i])
		}
	}
	return &names
}

// missedNames returns an error if the client's names were needed and could not be looked up. By section 5.5, ptr does not match
// then. But with the names the policy might have passed, so no other result, not even PermError, may refuse mail for good.
func (e *evaluator) missedNames() *resultError {
	if e.names == nil || e.names.err == nil {
		return nil
	}
	return &resultError{result: TempError, text: "the DNS does not answer for the names of the client", cause: e.names.err}
}
