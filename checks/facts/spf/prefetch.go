package spf

import (
	"slices"

	"github.com/miekg/dns"

	"milterd/checks"
)

// Prefetch returns the questions that CheckHost will ask, with those that follow from each answer. It is pure. It leaves out
// questions that depend on the reverse DNS names of the client.
func Prefetch(s Subject) []checks.Query {
	if !s.hasDomain() {
		return nil
	}
	queries := prefetch{subject: s, left: maxLookups}.policy(s.Domain)
	for i := range queries {
		queries[i].Key = s.Identity
	}
	return queries
}

// prefetch makes the questions for one subject.
type prefetch struct {
	subject Subject
	left    int // terms that may still ask the DNS, see maxLookups
}

// policy returns the question for the record of a domain, which the questions of its terms follow.
func (p prefetch) policy(domain string) []checks.Query {
	return query(domain, dns.TypeTXT, func(a checks.Answer) []checks.Query {
		texts := checks.Texts(a)
		i := slices.IndexFunc(texts, isRecord)
		if i < 0 {
			return nil
		}
		r, err := parseRecord(texts[i])
		if err != nil {
			return nil
		}
		return p.terms(r, domain)
	})
}

// terms returns the questions of a record. All terms of the record are subtracted from the limit before include: and redirect= are
// followed, so records that include each other cause few questions. A policy within the limit lacks none.
func (p prefetch) terms(r record, domain string) []checks.Query {
	var terms []directive
	redirect := r.redirect
	for _, d := range r.directives {
		if d.mechanism == mechAll {
			redirect = "" // is not reached
			break
		}
		if d.mechanism != mechIP4 && d.mechanism != mechIP6 {
			terms = append(terms, d)
		}
	}
	if redirect != "" {
		terms = append(terms, directive{mechanism: mechInclude, spec: redirect})
	}
	terms = terms[:min(len(terms), p.left)]
	p.left -= len(terms)
	var queries []checks.Query
	for _, d := range terms {
		if target, ok := p.target(d.spec, domain); ok {
			queries = append(queries, p.term(d.mechanism, target)...)
		}
	}
	if target, ok := p.target(r.exp, domain); ok && r.exp != "" {
		queries = append(queries, query(target, dns.TypeTXT, nil)...)
	}
	return queries
}

func (p prefetch) term(m mechanism, target string) []checks.Query {
	switch m {
	case mechInclude:
		if p.left > 0 {
			return p.policy(target)
		}
		return query(target, dns.TypeTXT, nil)
	case mechA:
		return query(target, checks.AddressType(p.subject.Client), nil)
	case mechExists:
		return query(target, dns.TypeA, nil)
	case mechMX:
		return query(target, dns.TypeMX, p.hosts)
	default: // ptr
		return nil
	}
}

func (p prefetch) hosts(a checks.Answer) []checks.Query {
	mxs := checks.RecordsOf[*dns.MX](a)
	if len(mxs) > maxHosts {
		return nil
	}
	return checks.Queries(hostQuestions(mxs, p.subject.Client)...)
}

// target expands a domain-spec. ok is false if it may use %{p}, whose value is not known without the DNS.
func (p prefetch) target(spec, domain string) (target string, ok bool) {
	if hasMacro(spec, "p") {
		return "", false
	}
	e := evaluator{subject: p.subject}
	target, err := e.target(spec, domain)
	return target, err == nil
}

// query returns the query for a name that need not be in master-file form. It returns none if the name does not fit in a
// question.
func query(name string, t uint16, then func(checks.Answer) []checks.Query) []checks.Query {
	name, ok := dnsName(name)
	if !ok {
		return nil
	}
	return []checks.Query{{Question: checks.Ask(name, t), Then: then}}
}
