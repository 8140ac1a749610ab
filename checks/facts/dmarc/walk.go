package dmarc

import (
	"context"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

const (
	maxLabels = 8   // of a domain whose parent is asked next; a longer one is followed by its last 7 labels, section 4.10 step 4
	maxName   = 253 // bytes of a domain name as text, RFC 1035 section 2.3.4
)

// names returns the domains that a tree walk asks about, in order: at most 8, section 4.10.
func names(domain string) []string {
	list := []string{domain}
	for range strings.Count(domain, ".") + 1 - maxLabels {
		_, domain, _ = strings.Cut(domain, ".")
	}
	for {
		_, parent, ok := strings.Cut(domain, ".")
		if !ok {
			return list
		}
		list, domain = append(list, parent), parent
	}
}

// question returns the question for the record of a domain. ok is false if its name would be too long.
func question(domain string) (q checks.Question, ok bool) {
	name := "_dmarc." + domain
	return checks.Ask(name, dns.TypeTXT), len(name) <= maxName
}

// Tree has the records of domains and of those above them. It asks for each once. It belongs to one goroutine.
type Tree struct {
	dns   checks.Resolver
	found map[string]node
}

// node is what the DNS has for one domain.
type node struct {
	domain string
	record Record
	ok     bool  // there is a record
	err    error // the DNS did not answer
}

// NewTree returns a Tree that has asked nothing.
func NewTree(resolver checks.Resolver) *Tree {
	return &Tree{dns: resolver, found: map[string]node{}}
}

// load asks for the records of domains, all at once.
func (t *Tree) load(ctx context.Context, domains []string) {
	var questions []checks.Question
	var missing []string
	for _, d := range domains {
		if _, known := t.found[d]; known {
			continue
		}
		t.found[d] = node{domain: d}
		if q, ok := question(d); ok {
			questions, missing = append(questions, q), append(missing, d)
		}
	}
	for i, res := range checks.LookupAll(ctx, t.dns, questions...) {
		n := node{domain: missing[i], err: res.Err}
		if res.Err != nil {
			n.err = fmt.Errorf("DMARC record of %s: %w", n.domain, res.Err)
		} else {
			n.record, n.ok = parseRecord(textOf(res.Answer))
		}
		t.found[n.domain] = n
	}
}

// walk returns the nodes of a tree walk, section 4.10, up to one with psd=y or psd=n.
func (t *Tree) walk(ctx context.Context, domain string) []node {
	list := names(domain)
	t.load(ctx, list)
	var nodes []node
	for _, name := range list {
		n := t.found[name]
		nodes = append(nodes, n)
		if n.record.PublicSuffix || n.record.Organization {
			break
		}
	}
	return nodes
}

// organization is the result of the search for an organisational domain, section 4.10.2.
type organization struct {
	domain string
	suffix string // the public suffix above it that has psd=y, or for which the DNS did not answer; may be empty
	found  bool   // the walk found a record
	err    error  // the domain may be another one, as the DNS did not answer
}

// organization returns the organisational domain of a domain.
//
// A public suffix whose record could not be looked up is taken for one with psd=y: whether it has such a record or none, the
// organisational domain is below it. So a registry whose servers fail does not hide the policies of its customers.
func (t *Tree) organization(ctx context.Context, domain string) organization {
	o := organization{domain: domain}
	for i, n := range t.walk(ctx, domain) {
		switch {
		case n.record.Organization:
			o.domain, o.found = n.domain, true
			return o
		case i > 0 && (n.record.PublicSuffix || n.err != nil && checks.IsPublicSuffix(n.domain)):
			o.domain, o.suffix, o.found = below(n.domain, domain), n.domain, o.found || n.ok
			return o
		case n.err != nil && o.err == nil:
			o.err = n.err
		case n.ok:
			o.domain, o.found = n.domain, true
		}
	}
	return o
}

// below returns the domain one label below suffix on the way to domain.
func below(suffix, domain string) string {
	rest := strings.TrimSuffix(domain, "."+suffix)
	return domain[strings.LastIndexByte(rest, '.')+1:]
}

// Aligned reports whether two domains have the same organisational domain: by tree walk, or by the public suffix list if the
// walk from a finds no record (section 4.10.2). With an error it is false and might be true.
func (t *Tree) Aligned(ctx context.Context, a, b string) (bool, error) {
	if a == b || !related(a, b) {
		return a == b && a != "", nil
	}
	org := t.organization(ctx, a)
	switch {
	case org.err != nil:
		return false, org.err
	case !org.found:
		return checks.Organization(a) == checks.Organization(b), nil
	case !checks.Under(b, org.domain):
		return false, nil // without a question: a stranger may have chosen b
	}
	other := t.organization(ctx, b)
	return other.err == nil && other.domain == org.domain, other.err
}

// related reports whether two domains have a parent in common, or one is the parent of the other, that is no public suffix.
// Others are never aligned, even if a registry publishes a record without psd=y.
func related(a, b string) bool {
	if !isName(a) || !isName(b) {
		return false
	}
	for parent, ok := a, true; ok; _, parent, ok = strings.Cut(parent, ".") {
		if checks.Under(b, parent) {
			return !checks.IsPublicSuffix(parent)
		}
	}
	return false
}

// isName reports whether a domain can be asked for.
func isName(domain string) bool {
	return len(domain) <= maxName && checks.IsHostName(domain) && !strings.HasSuffix(domain, ".")
}

// Prefetch returns the questions of Evaluate and Aligned that follow from the author domains and from the domains of SPF and
// DKIM, whatever their results. It is pure.
func Prefetch(authors, identifiers []string) []checks.Query {
	authors = authors[:min(len(authors), maxAuthors)]
	seen := map[string]bool{}
	var queries []checks.Query
	add := func(domain string) {
		for _, name := range names(domain) {
			if q, ok := question(name); ok && !seen[name] {
				seen[name] = true
				queries = append(queries, checks.Query{Question: q})
			}
		}
	}
	for _, a := range authors {
		if isName(a) {
			add(a)
		}
		for _, id := range identifiers {
			if id != a && related(a, id) {
				add(id)
			}
		}
	}
	return queries
}
