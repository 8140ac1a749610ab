package spf

import (
	"github.com/miekg/dns"

	"milterd/checks"
)

// Prefetch returns the questions that judging an identity will ask, as far as they can be known: with every answer those
// that follow from it. It is pure, and never returns what MailFromSPF or HeloSPF would not ask for some client.
//
// The limit of RFC 7208 section 4.6.4 bounds it too: a record cannot announce more than an evaluation may ask.
func Prefetch(who Subject) []checks.Query {
	if !who.judged() {
		return nil
	}
	out := spfAhead{who, spfMaxLookups}.policy(who.Domain)
	for i := range out {
		out[i].Key = who.Identity
	}
	return out
}

// spfAhead announces for one subject. left is how many terms that ask the DNS the limit leaves.
type spfAhead struct {
	who  Subject
	left int
}

// policy announces the record of a domain, and what it will ask.
func (w spfAhead) policy(domain string) []checks.Query {
	return spfAsk(domain, dns.TypeTXT, func(a checks.Answer) []checks.Query {
		for _, t := range checks.RecordsOf[*dns.TXT](a) {
			if txt := spfText(t); isSPF(txt) {
				if r, err := parseSPF(txt); err == nil {
					return w.terms(r, domain)
				}
				break
			}
		}
		return nil
	})
}

// terms announces what the directives and modifiers of a record ask for. All of a record's own terms are taken off the
// limit before its include: and redirect= are followed, so that the whole tree stays small: records that keep the limit
// are announced completely.
func (w spfAhead) terms(r spfRecord, domain string) []checks.Query {
	type term struct {
		spfMechanism
		spec string
	}
	var terms []term
	redirect := r.redirect
	for _, d := range r.directives {
		if d.mechanism == spfAll {
			redirect = "" // never reached
			break
		}
		if d.mechanism != spfIP {
			terms = append(terms, term{d.mechanism, d.spec})
		}
	}
	if redirect != "" {
		terms = append(terms, term{spfInclude, redirect})
	}
	terms = terms[:min(len(terms), w.left)]
	w.left -= len(terms)
	var out []checks.Query
	for _, t := range terms {
		if target, ok := w.target(t.spec, domain); ok {
			out = append(out, w.term(t.spfMechanism, target)...)
		}
	}
	if target, ok := w.target(r.exp, domain); ok && r.exp != "" {
		out = append(out, spfAsk(target, dns.TypeTXT, nil)...)
	}
	return out
}

func (w spfAhead) term(m spfMechanism, target string) []checks.Query {
	addresses := checks.AddressType(w.who.Client)
	switch m {
	case spfInclude:
		if w.left > 0 {
			return w.policy(target)
		}
		return spfAsk(target, dns.TypeTXT, nil)
	case spfA:
		return spfAsk(target, addresses, nil)
	case spfExists:
		return spfAsk(target, dns.TypeA, nil)
	case spfMX:
		return spfAsk(target, dns.TypeMX, func(a checks.Answer) []checks.Query {
			if mxs := checks.RecordsOf[*dns.MX](a); len(mxs) <= spfMaxHosts {
				var out []checks.Query
				for _, q := range spfHosts(mxs, w.who.Client) {
					out = append(out, checks.Query{Question: q})
				}
				return out
			}
			return nil
		})
	default: // the reverse names of the client are announced by the checks of them
		return nil
	}
}

// target expands a domain-spec without asking the DNS. ok is false where that is needed, for %{p}.
func (w spfAhead) target(spec, domain string) (target string, ok bool) {
	if spec == "" {
		return domain, true
	}
	if usesSPFMacro(spec, 'p') {
		return "", false
	}
	e := spfEval{who: w.who}
	target, err := e.target(spec, domain)
	return target, err == nil
}

// spfAsk announces one question for a name as it is, if it can be asked.
func spfAsk(raw string, t uint16, then func(checks.Answer) []checks.Query) []checks.Query {
	name, ok := spfDNSName(raw)
	if !ok {
		return nil
	}
	return []checks.Query{{Question: checks.Ask(name, t), Then: then}}
}
