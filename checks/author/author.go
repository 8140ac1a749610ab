// Package author checks the authors of a message, which are all that a reader sees of its sender: the addresses in the From
// field (RFC 5322 section 3.6.2), their domains, and the names beside them.
//
// facts.MessageAuthors parses the field. The check msgfields is about the syntax of the field, and the check dmarc about whether
// the message comes from the domain. reasons.go has the reasons. Start reading at check.Check.
package author

import (
	"context"
	"regexp"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/headers"
)

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "author",
	Doc: "Looks at the authors that the From field names: whether they are of one domain, whether the domain can receive mail, " +
		"and whether the display name claims another address.",
	Stages:  []checks.Stage{checks.EndOfHeader},
	Reasons: []*checks.Reason{multiple, noDomain, encoded, display},
	Public:  true,
}, checks.NoSettings{}, func(_ checks.NoSettings, env checks.Env) (checks.Check, error) {
	return &check{env}, nil
})

type check struct{ env checks.Env }

// maxDomains is the number of author domains that are looked up. It bounds the DNS questions that a message can cause.
const maxDomains = 5

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query {
	if r.Stage != checks.EndOfHeader || !r.Used(noDomain) {
		return nil
	}
	var queries []checks.Query
	for _, domain := range lookedUp(r) {
		queries = append(queries, facts.PrefetchReceivesMail(domain)...)
	}
	return queries
}

// lookedUp returns the author domains that are looked up.
func lookedUp(r *checks.Request) []string {
	domains := facts.MessageAuthors(r).Domains
	return domains[:min(len(domains), maxDomains)]
}

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	a := facts.MessageAuthors(r)
	var verdicts []checks.Verdict
	if a.Several() {
		verdicts = append(verdicts, checks.Verdict{Reason: multiple, Detail: map[string]string{
			"author_domains": strings.Join(append(a.Domains[:len(a.Domains):len(a.Domains)], a.Invalid...), ", "),
		}})
	}
	without, err := c.withoutHost(ctx, r, a)
	if without != "" {
		verdicts = append(verdicts, checks.Verdict{Reason: noDomain, Detail: map[string]string{"author_domain": without}})
	}
	shown := displayOf(r.Envelope.Header)
	if shown.encoded != "" {
		verdicts = append(verdicts, checks.Verdict{Reason: encoded, Detail: map[string]string{"from": shown.encoded}})
	}
	if shown.claimed != "" {
		verdicts = append(verdicts, checks.Verdict{Reason: display, Detail: map[string]string{
			"claimed": shown.claimed, "from": shown.claimant.Local + "@" + shown.claimant.Domain,
		}})
	}
	return verdicts, err
}

// withoutHost returns the first author domain that has neither MX nor address records, or "". With an error there may be one.
func (c *check) withoutHost(ctx context.Context, r *checks.Request, a facts.Authors) (string, error) {
	if !r.Used(noDomain) {
		return "", nil
	}
	if len(a.Invalid) > 0 {
		return a.Invalid[0], nil
	}
	var failed error
	for _, domain := range lookedUp(r) {
		ok, err := facts.ReceivesMail(ctx, c.env, domain)
		if err != nil {
			failed = err
			continue
		}
		if !ok {
			return domain, nil
		}
	}
	return "", failed
}

// fromDisplay is what the From fields show beside the addresses of their authors. The first of several counts.
type fromDisplay struct {
	encoded  string          // address with an encoded-word, RFC 2047 section 2; empty if there is none
	claimed  string          // address in a display name that is of another organisation than the mailbox; empty if there is none
	claimant headers.Mailbox // that mailbox
}

// displayOf returns what the From fields show. If no field can be parsed, the address is what stands between angle brackets.
func displayOf(header []headers.Field) fromDisplay {
	var s fromDisplay
	parsed := false
	for _, field := range header {
		if !field.Is("From") {
			continue
		}
		mailboxes, _ := headers.ParseMailboxList(field.Value) // it has addresses with a fault too
		for _, m := range mailboxes {
			if s.encoded == "" && (encodedWord.MatchString(m.Local) || encodedWord.MatchString(m.Domain)) {
				s.encoded = m.Local + "@" + m.Domain
			}
			if s.claimed == "" {
				s.claimed, s.claimant = claimedAddress(m), m
			}
			parsed = true
		}
	}
	if !parsed {
		s.encoded = bracketedEncodedWord(header)
	}
	return s
}

// bracketedEncodedWord returns the first text between angle brackets in a From field that has an encoded-word, or "".
func bracketedEncodedWord(header []headers.Field) string {
	for _, field := range header {
		if !field.Is("From") {
			continue
		}
		_, address, _ := strings.Cut(field.Value, "<")
		if address, _, _ = strings.Cut(address, ">"); encodedWord.MatchString(address) {
			return strings.TrimSpace(address)
		}
	}
	return ""
}

// encodedWord is the form of an encoded-word: =?charset?encoding?text?=.
var encodedWord = regexp.MustCompile(`=\?[^?]*\?[^?]*\?(?s:.*)\?=`)

// claimedAddress returns the first address in the display name of a mailbox that is of another organisation than its own, or "".
func claimedAddress(m headers.Mailbox) string {
	words := addressesIn(m.Name)
	if len(words) == 0 {
		return ""
	}
	own := checks.Organization(facts.ASCIIDomain(m.Domain))
	for _, word := range words {
		_, domain, _ := strings.Cut(word, "@")
		if claimed := facts.ASCIIDomain(domain); claimed != "" && checks.Organization(claimed) != own {
			return word
		}
	}
	return ""
}

// addressesIn returns the addresses in a display name, whose encoded words it decodes.
func addressesIn(name string) []string {
	name = headers.DecodeWords(name)
	var list []string
	for word := range strings.FieldsFuncSeq(name, isBetween) {
		local, domain, ok := strings.Cut(word, "@")
		if domain = strings.Trim(domain, "."); ok && local != "" && strings.Contains(domain, ".") {
			list = append(list, local+"@"+domain)
		}
	}
	return list
}

// isBetween reports whether a character can stand beside an address in a display name, but not in it.
func isBetween(c rune) bool {
	return c <= ' ' || c == 0xa0 || strings.ContainsRune(`"'<>()[]{}:;,|/\`, c)
}
