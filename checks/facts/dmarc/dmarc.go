// Package dmarc evaluates Domain-based Message Authentication, Reporting, and Conformance, RFC 9989: whether SPF or DKIM
// shows that a message comes from the domain in its From field, and what the owner of that domain asks for if not. Section
// numbers in this package are those of RFC 9989.
//
// Start reading at Tree.Evaluate. A Tree finds records by walking up from a domain (walk.go), and parseRecord parses them
// (record.go). Tree.Reporting returns who wants reports about a domain (reporting.go).
//
// checks/facts takes the author domains and the identifiers from a message and remembers the Evaluation. The check dmarc has
// the reasons that follow from it.
//
// The parser of github.com/emersion/go-msgauth/dmarc is not used: it knows RFC 7489 only and takes the first of two records.
package dmarc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"milterd/checks"
)

// Result is a result of an evaluation, a word of RFC 8601 section 2.7.
type Result string

// The results.
const (
	None      Result = "none"      // there is no author domain, or no record for it
	Pass      Result = "pass"      // an aligned identifier passes
	Fail      Result = "fail"      // no aligned identifier passes
	TempError Result = "temperror" // the DNS did not answer, and the answer could have changed the result
	PermError Result = "permerror" // there are too many author domains
)

// State is what SPF or DKIM found about an identifier.
type State uint8

// The states.
const (
	Failed  State = iota // it does not pass
	Unknown              // the DNS did not answer, so it might pass
	Passed
)

// Identifier is a domain that SPF or DKIM authenticates if it passes, section 4.4.
type Identifier struct {
	Method string // "spf" or "dkim"
	Domain string // lower-case A-labels, no trailing dot
	State  State
	Err    error // why the state is Unknown

	// Unsure, for Unknown: the client may have caused the failure, or the clock. If it aligns and nothing passes, the result is Fail
	// with Evaluation.Missed, and not TempError, so that a client cannot hide a forgery.
	Unsure bool
}

// Evaluation is the result for an author domain, and how it came about.
type Evaluation struct {
	Result       Result
	Author       string       // author domain; empty if there is none, or with PermError
	PolicyDomain string       // domain whose record applies; empty without record
	Record       Record       // that record
	Published    Policy       // what p=, sp= or np= of the record asks for
	Applied      Policy       // Published, or the next weaker policy if the record has t=y
	Missed       error        // for Fail: why it might pass, see Identifier.Unsure; nil: it does not
	Aligned      []Identifier // those that align, whatever their state; with Pass only one that passes

	err error // for TempError
}

// maxAuthors is the number of author domains that are evaluated, see section 11.5.
const maxAuthors = 5

// Evaluate evaluates a message with author domains (lower-case A-labels, no trailing dot, each once) and identifiers. Of
// several results, the strictest is returned. The error is not nil if and only if the result is TempError.
//
// With too many author domains only the first are evaluated, and the result is PermError unless one of them fails with a policy.
func (t *Tree) Evaluate(ctx context.Context, authors []string, identifiers []Identifier) (Evaluation, error) {
	evaluated := authors[:min(len(authors), maxAuthors)]
	t.Load(ctx, evaluated)
	evaluations := make([]Evaluation, len(evaluated))
	for i, a := range evaluated {
		evaluations[i] = t.evaluate(ctx, a, identifiers)
	}
	t.useNonexistent(ctx, evaluations)
	strictest := Evaluation{Result: None}
	if len(evaluations) > 0 {
		strictest = slices.MaxFunc(evaluations, func(a, b Evaluation) int { return cmp.Compare(a.rank(), b.rank()) })
	}
	if len(authors) > maxAuthors && (strictest.Result != Fail || strictest.Applied == NoPolicy) {
		return Evaluation{Result: PermError}, nil
	}
	return strictest, strictest.err
}

// Load asks for the records of author domains, and for those above them where there is none. Evaluate does not ask again. A caller
// that asks for other names before it calls Evaluate calls Load first, or their slow servers could use up the time.
//
// Of several author domains, some may be the sender's. Load then asks for all records at once and takes half of the time, so that slow
// servers of one do not hide the policy of another.
func (t *Tree) Load(ctx context.Context, authors []string) {
	own := slices.DeleteFunc(slices.Clone(authors[:min(len(authors), maxAuthors)]), func(a string) bool { return !isName(a) })
	if len(own) == 1 {
		t.load(ctx, own)
		if n := t.found[own[0]]; !n.ok && n.err == nil {
			t.load(ctx, names(own[0]))
		}
		return
	}
	var all []string
	for _, a := range own {
		all = append(all, names(a)...)
	}
	half, cancel := checks.WithShare(ctx, 0.5)
	defer cancel()
	t.load(half, all)
}

// rank orders results by strictness. A failure of the DNS may hide a reject, but not a failure that is certain.
func (e Evaluation) rank() int {
	switch {
	case e.Result == Pass:
		return 0
	case e.Result == None:
		return 1
	case e.Result == Fail && e.Applied == NoPolicy:
		return 2
	case e.Result == TempError:
		return 3
	default:
		return 3 + int(e.Applied)
	}
}

// evaluate evaluates one author domain, without np=.
func (t *Tree) evaluate(ctx context.Context, author string, identifiers []Identifier) Evaluation {
	e := Evaluation{Result: None, Author: author}
	if !isName(author) {
		return e
	}
	found := t.policy(ctx, author)
	err := found.err
	if found.ok {
		e.PolicyDomain, e.Record = found.domain, found.record
		e.setPolicy(found.record.Subdomains)
		e.Result = Fail
		err = t.align(ctx, &e, identifiers)
	}
	if err != nil {
		e.Result, e.err = TempError, err
	}
	return e
}

// setPolicy sets the policies. subdomains is the one for the author domain if the record is above it.
func (e *Evaluation) setPolicy(subdomains Policy) {
	e.Published = subdomains
	if e.Author == e.PolicyDomain {
		e.Published = e.Record.Domain
	}
	e.Applied = e.Published
	if e.Record.Testing {
		e.Applied = e.Published.weaker()
	}
}

// policy returns the node with the record for an author domain: that of the domain itself, of its organisational domain, or of
// the public suffix above it (section 4.10.1).
func (t *Tree) policy(ctx context.Context, author string) node {
	own := t.found[author] // by Load
	if own.ok || own.err != nil {
		return own
	}
	org := t.organization(ctx, author)
	if org.err != nil {
		return node{err: org.err}
	}
	places := []string{org.domain}
	if org.suffix != "" {
		places = append(places, org.suffix)
	}
	t.load(ctx, places) // the walk of a long name leaves some out
	for _, place := range places {
		if n := t.found[place]; n.ok || n.err != nil {
			return n
		}
	}
	return node{}
}

// align finds the identifiers that align and sets the result if one passes. The error means that one might have.
func (t *Tree) align(ctx context.Context, e *Evaluation, identifiers []Identifier) error {
	for _, id := range identifiers {
		if id.State == Passed && id.Domain == e.Author {
			e.Result, e.Aligned = Pass, []Identifier{id} // no other question matters
			return nil
		}
	}
	passedFirst := slices.SortedStableFunc(slices.Values(identifiers), func(a, b Identifier) int { return cmp.Compare(b.State, a.State) })
	var missed error
	for _, id := range passedFirst {
		aligned, err := t.alignsWith(ctx, e, id)
		if err != nil && id.State != Failed {
			missed = cmp.Or(missed, err)
		}
		if !aligned {
			continue
		}
		if id.State == Passed {
			e.Result, e.Aligned = Pass, []Identifier{id}
			return nil
		}
		e.Aligned = append(e.Aligned, id)
		if id.State == Failed {
			continue
		}
		err = fmt.Errorf("%s of %s: %w", id.Method, id.Domain, cmp.Or(id.Err, errUnanswered))
		if id.Unsure {
			e.Missed = cmp.Or(e.Missed, err)
		} else {
			missed = cmp.Or(missed, err)
		}
	}
	return missed
}

var errUnanswered = errors.New("the DNS did not answer")

// alignsWith reports whether an identifier aligns with the author domain, section 4.4.
func (t *Tree) alignsWith(ctx context.Context, e *Evaluation, id Identifier) (bool, error) {
	strict := e.Record.StrictDKIM
	if id.Method == "spf" {
		strict = e.Record.StrictSPF
	}
	if strict {
		return id.Domain == e.Author, nil
	}
	return t.Aligned(ctx, e.Author, id.Domain)
}

// useNonexistent applies np= to the results Fail of author domains that do not exist, section 4.7. It asks for all of them at
// once, so that the slow servers of one do not hide the policy of another. A domain exists if the answer for MX or for A says so: some
// name servers answer NXDOMAIN for all types but A.
func (t *Tree) useNonexistent(ctx context.Context, evaluations []Evaluation) {
	var questions []checks.Question
	var asked []int // indexes of evaluations, each with two questions
	for i, e := range evaluations {
		if e.Result == Fail && e.Author != e.PolicyDomain && e.Record.Nonexistent != e.Record.Subdomains {
			questions = append(questions, checks.Ask(e.Author, dns.TypeMX), checks.Ask(e.Author, dns.TypeA))
			asked = append(asked, i)
		}
	}
	results := checks.LookupAll(ctx, t.dns, questions...)
	for n, i := range asked {
		exists, err := existence(results[2*n : 2*n+2])
		switch e := &evaluations[i]; {
		case err != nil && min(e.Record.Subdomains, e.Record.Nonexistent) > NoPolicy:
			e.setPolicy(min(e.Record.Subdomains, e.Record.Nonexistent)) // the owner asks for at least that in either case
		case err != nil:
			e.Result, e.err = TempError, fmt.Errorf("whether %s exists: %w", e.Author, err)
		case !exists:
			e.setPolicy(e.Record.Nonexistent)
		}
	}
}

// existence reports whether a domain exists, by the answers to questions for it. With an error it is false and might be true.
func existence(results []checks.LookupResult) (exists bool, err error) {
	for _, res := range results {
		if res.Err == nil && (!res.NXDomain || len(res.Records) > 0) {
			return true, nil
		}
		err = cmp.Or(err, res.Err)
	}
	return false, err
}
